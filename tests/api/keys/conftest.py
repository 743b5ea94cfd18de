from tests.api.experiments.conftest import versions, write_experiment

__all__ = ["versions", "write_experiment"]
