"""Which version of the package runs."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """As it is installed; `0+unknown` where it only lies in a folder."""
    try:
        return version("emotion-serving")
    except PackageNotFoundError:
        return "0+unknown"
