"""Everything about the model server: TensorFlow Serving's configuration files, and a development server.

`python -m serving` answers the same gRPC services as `tensorflow_model_server`, from the same SavedModels
and the same `models.config`, for machines that have the TensorFlow Python package but no TensorFlow Serving
binary.
"""
