"""Camera streams: many frames of the same faces. It knows no transport, no model and no HTTP.

messages   what goes over a stream, both ways
session    one stream: which frames are worked on, and a reply to each
places     how many streams there may be
tracks     which face of a frame is which of the frames before
smoothing  probabilities over time, and a label that does not flicker
"""
