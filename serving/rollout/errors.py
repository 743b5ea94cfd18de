"""What a rollout tells its user: one line, no traceback.

RolloutError
├── ConfigError   a models.config that cannot be read, or lacks what is asked for
├── ServerError   a model server that refuses a call or does not answer (client.py)
└── ClusterError  kubectl failed, or the cluster has not what the overlay says (cluster.py)
"""


class RolloutError(Exception):
    """Base of every error that the command line prints as one line."""


class ConfigError(RolloutError):
    """A models.config is invalid."""
