"""Everything about the model server: TensorFlow Serving's configuration files, a development server, and rollouts.

`python -m serving` answers the same gRPC services as `tensorflow_model_server`, from the same SavedModels and the same
`models.config`, on machines that have the TensorFlow Python package but no TensorFlow Serving binary.

__main__       the command line of both
flags          the server's flags
server         load, listen, poll, stop
services       the gRPC services
manager        which versions are loaded, and when, and which of them answers
policy         which versions should be
savedmodel     one version's answers; here alone is TensorFlow imported
ports          whether a port is free
models_config  the list of models, as a file
errors         failures with a gRPC status code
rollout        moving a version label on running servers, TensorFlow Serving's or ours, and back
"""
