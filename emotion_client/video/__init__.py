"""Videos: every face of every frame, by the extra `video` (PyAV, Pillow, Matplotlib).

run       from a file to a picture, a table and another video, with bounded memory
reader    frames with their exact times, upright, and the packets of the sound
tracks    which face of a frame is which of the frames before, and its emotion over time
mark      boxes and words on a frame
writer    the marked frames and the sound as a file
table     a row a face
timeline  each track's emotions over time, as a picture
answers   what is needed of a client's answers
errors    what can be wrong with a file
"""
