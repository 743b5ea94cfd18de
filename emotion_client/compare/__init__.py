"""Two models or versions on the same photos: where they differ, and which is right more often.

choice   which model, by name, version or label
run      asks both about each photo of a folder
figures  agreement, accuracy and McNemar's test
sheet    the faces that they see differently, as a picture
"""
