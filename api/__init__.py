"""The HTTP gateway: a photo in, the emotions of every face out. It never imports TensorFlow."""
