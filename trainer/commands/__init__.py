"""The commands of `python -m trainer`, one module each, and the options that they share.

data      look at the data
train     train a published model
opinions  ask somebody else's network about each face
search    search architectures
ensemble  combine trained runs
evaluate  measure a model
export    write a version into the model repository
options   what several commands take
tables    what several commands print

Keras, TensorFlow, Optuna and Matplotlib take seconds to import. What needs them is imported inside the commands, so
that help and mistakes on the command line are answered at once.
"""
