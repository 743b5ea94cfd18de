"""Everything about the model server: TensorFlow Serving's configuration files, a development server, and rollouts.

`python -m serving` answers the same gRPC services as `tensorflow_model_server`, from the same SavedModels
and the same `models.config`, for machines that have the TensorFlow Python package but no TensorFlow Serving
binary. `python -m serving promote` moves a label on either.

server      the server
local       its gRPC services
manager     which versions are loaded, and when
policy      which versions should be
servable    one version's life
savedmodel  one version's answers
config      models.config
flags       the command line
ports       a port that is free
errors      failures with a gRPC status code
rollout     moving a version label on running servers, and back
"""
