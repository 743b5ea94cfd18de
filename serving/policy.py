"""Which versions of a model should be loaded: a pure function of directory names and the version policy."""

import re
from collections.abc import Iterable

from wire.serving_pb2 import ServableVersionPolicy

_INT64_MAX = 2**63 - 1
_VERSION_NAME = re.compile(r"[0-9]+", re.ASCII)


def aspired_versions(policy: ServableVersionPolicy, names: Iterable[str]) -> dict[int, str]:
    """Version number -> directory name of the versions which `policy` wants loaded, lowest first.

    Names that are no integers are no versions. Of two spellings of one number ("7", "007") the one that sorts last
    wins, which is TensorFlow Serving's choice.
    """
    numeric = {int(name): name for name in sorted(names) if _VERSION_NAME.fullmatch(name)}
    versions = {version: name for version, name in numeric.items() if version <= _INT64_MAX}
    match policy.WhichOneof("policy_choice"):
        case "all":
            chosen = sorted(versions)
        case "specific":
            chosen = sorted(versions.keys() & set(policy.specific.versions))
        case _:
            # 0 counts as 1, as in TensorFlow Serving, whose default it is.
            chosen = sorted(versions)[-max(policy.latest.num_versions, 1) :]
    return {version: versions[version] for version in chosen}
