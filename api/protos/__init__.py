"""Messages wire-compatible with TensorFlow Serving's; serving.proto says how they are generated."""
