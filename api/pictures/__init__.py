"""Pictures for people: the photo in colour, with what was found in it drawn over it.

colour                       the photo as a browser shows it
annotate                     boxes, numbers and emotions
heat                         heat maps, laid back over the faces that they are of
DejaVuSans-Bold.ttf          the letters; NOTICE and the file beside it say whose they are
DejaVuSans-Bold.LICENSE.txt  its licence
"""
