"""Training one network.

config      what a training is told, from YAML and --set
fit         the training itself
batches     what it is fed
augment     how faces are varied
targets     what it is asked: labels, votes, a teacher
losses      what it minimises
optimizers  and how
ema         averaged weights
callbacks   what happens after each epoch
checkpoint  what a killed training goes on from; the best weights
loggers     log.csv, TensorBoard, the bar
device      all of it on a GPU: faces, views and steps
"""
