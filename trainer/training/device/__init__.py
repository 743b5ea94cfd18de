"""Training where faces, views and steps all stay on a GPU: `feed: device` of a config. PyTorch alone.

A network of a hundred million multiply-accumulates takes a millisecond or two for a batch there, less than a processor
needs to prepare the batch or Keras to order the step's kernels.

views  random views of faces as matrix products, drawn as `trainer.training.augment` draws them
steps  the training step, recorded once as a CUDA graph and replayed
train  the epochs
"""
