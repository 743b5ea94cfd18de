"""Command line of `python -m serving`: the subset of tensorflow_model_server's flags that it implements.

Same names and defaults, so that one argument list starts either server. Free of TensorFlow: a mistyped flag
is answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True)
class Options:
    """What the server was asked to do. Intervals are in seconds; 0 means no polling after the first look."""

    model_config_file: Path | None = None
    model_name: str = "default"
    model_base_path: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - tensorflow_model_server's own address
    port: int = 8500
    model_config_file_poll_wait_seconds: float = 0
    file_system_poll_wait_seconds: float = 1
    allow_version_labels_for_unavailable_models: bool = False
    enable_grpc_healthcheck_service: bool = False


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def _seconds(text: str) -> int:
    # A whole number, because tensorflow_model_server takes nothing else.
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of seconds, 0 or more, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 (any free one) to 65535, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="python -m serving",
        description="Development model server: TensorFlow Serving's gRPC services on the TensorFlow runtime.",
        allow_abbrev=False,
    )
    models = parser.add_mutually_exclusive_group(required=True)
    models.add_argument("--model_config_file", type=Path, metavar="FILE", help="text proto ModelServerConfig")
    models.add_argument("--model_base_path", metavar="DIR", help="absolute path of one model's versions")
    parser.add_argument("--model_name", help="name of the model in --model_base_path (default: default)")
    parser.add_argument("--host", default=Options.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=_port,
        default=Options.port,
        help="gRPC port, 0 for any free one (default: %(default)s)",
    )
    parser.add_argument("--rest_api_port", help=argparse.SUPPRESS)
    for name, meaning in (
        ("model_config_file_poll_wait_seconds", "between two reads of --model_config_file, 0: read once"),
        ("file_system_poll_wait_seconds", "between two looks for new versions, 0: look once"),
    ):
        default = int(getattr(Options, name))
        text = f"seconds {meaning} (default: {default})"
        parser.add_argument(f"--{name}", type=_seconds, default=default, metavar="N", help=text)
    for name, meaning in (
        ("allow_version_labels_for_unavailable_models", "let a new label point at a version not loaded yet"),
        ("enable_grpc_healthcheck_service", "serve grpc.health.v1.Health"),
    ):
        parser.add_argument(
            f"--{name}", type=_boolean, nargs="?", const=True, default=False, metavar="BOOL", help=meaning
        )
    return parser


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Options from `arguments` (default: sys.argv). A mistake is one line on stderr and exit status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.rest_api_port is not None:
        parser.error("--rest_api_port is not supported: this development server speaks gRPC only")
    if given.model_config_file is not None and given.model_name is not None:
        parser.error("--model_name goes with --model_base_path; --model_config_file names its own models")
    if given.model_config_file is None and given.model_config_file_poll_wait_seconds:
        parser.error("--model_config_file_poll_wait_seconds needs --model_config_file")
    values = {name: value for name, value in vars(given).items() if name != "rest_api_port" and value is not None}
    return Options(**values)
