"""Command line of `python -m serving`: the subset of tensorflow_model_server's flags that it implements.

Same names and defaults, so that one argument list starts either server. Free of TensorFlow, so that a mistyped flag is
answered at once.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return BOOLEANS[text.lower()]


def _number(text: str, what: str, largest: float = math.inf) -> int:
    # Whole, even for seconds, because tensorflow_model_server takes nothing else.
    if not text.isdecimal() or int(text) > largest:
        raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
    return int(text)


_PORT = partial(_number, what="a port from 0 (any free one) to 65535", largest=65535)
_SECONDS: dict[str, Any] = {"type": partial(_number, what="a whole number of seconds, 0 or more"), "metavar": "N"}
_BOOLEAN: dict[str, Any] = {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}


@dataclass(frozen=True)
class Options:
    """What the server was asked to do. The metadata of a field is what argparse needs to know about its flag."""

    model_config_file: Path | None = field(
        default=None, metadata={"help": "text proto ModelServerConfig", "type": Path, "metavar": "FILE"}
    )
    model_base_path: str | None = field(
        default=None, metadata={"help": "absolute path of one model's versions", "metavar": "DIR"}
    )
    model_name: str = field(default="default", metadata={"help": "name of the model in --model_base_path"})
    # tensorflow_model_server's own address
    host: str = field(default="0.0.0.0", metadata={"help": "address to listen on"})  # noqa: S104  # nosec B104
    port: int = field(default=8500, metadata={"help": "gRPC port, 0 for any free one", "type": _PORT})
    model_config_file_poll_wait_seconds: float = field(
        default=0, metadata={"help": "seconds between two reads of --model_config_file, 0: read once", **_SECONDS}
    )
    file_system_poll_wait_seconds: float = field(
        default=1, metadata={"help": "seconds between two looks for new versions, 0: look once", **_SECONDS}
    )
    allow_version_labels_for_unavailable_models: bool = field(
        default=False, metadata={"help": "let a new label point at a version not loaded yet", **_BOOLEAN}
    )
    enable_grpc_healthcheck_service: bool = field(
        default=False, metadata={"help": "serve grpc.health.v1.Health", **_BOOLEAN}
    )


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Options from `arguments` (default: sys.argv). A mistake is one line on stderr and exit status 2."""
    parser = _OneLineParser(
        prog="python -m serving",
        description="Development model server: TensorFlow Serving's gRPC services on the TensorFlow runtime.",
        epilog="python -m serving promote, rollback, apply or check, each with its own --help, is for running servers.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    models = parser.add_mutually_exclusive_group(required=True)
    for one in fields(Options):
        place, default = (models, "") if one.default is None else (parser, f" (default: {one.default})")
        place.add_argument(f"--{one.name}", **{**one.metadata, "help": one.metadata["help"] + default})
    parser.add_argument("--rest_api_port", help=argparse.SUPPRESS)
    given = vars(parser.parse_args(arguments))
    if "rest_api_port" in given:
        parser.error("--rest_api_port is not supported: this development server speaks gRPC only")
    if "model_config_file" in given and "model_name" in given:
        parser.error("--model_name goes with --model_base_path; --model_config_file names its own models")
    if "model_config_file" not in given and given.get("model_config_file_poll_wait_seconds"):
        parser.error("--model_config_file_poll_wait_seconds needs --model_config_file")
    return Options(**given)
