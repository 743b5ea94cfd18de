"""Which versions of a model should be loaded: a pure function of directory names and the version policy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_INT64_MAX = 2**63 - 1
_VERSION_NAME = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True)
class Latest:
    """The `num_versions` highest versions; 0 counts as 1, as in TensorFlow Serving."""

    num_versions: int = 1


@dataclass(frozen=True)
class All:
    """Every version that is on disk."""


@dataclass(frozen=True)
class Specific:
    """Those of `versions` that are on disk."""

    versions: frozenset[int]


VersionPolicy = Latest | All | Specific


def numeric_versions(names: Iterable[str]) -> dict[int, str]:
    """Version number -> directory name, for the names that are integers.

    Hidden and non-numeric names are no versions. Of two spellings of one number ("7", "007") the one that
    sorts last wins, which is TensorFlow Serving's choice.
    """
    versions = {}
    for name in sorted(names):
        if _VERSION_NAME.fullmatch(name) and int(name) <= _INT64_MAX:
            versions[int(name)] = name
    return versions


def aspired_versions(policy: VersionPolicy, names: Iterable[str]) -> dict[int, str]:
    """Version number -> directory name of the versions which `policy` wants loaded, lowest first."""
    versions = numeric_versions(names)
    match policy:
        case Latest(num_versions):
            chosen = sorted(versions)[-max(num_versions, 1) :]
        case All():
            chosen = sorted(versions)
        case Specific(wanted):
            chosen = sorted(versions.keys() & wanted)
    return {version: versions[version] for version in chosen}
