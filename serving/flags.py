"""Command line of `python -m serving`: the subset of tensorflow_model_server's flags that it implements.

Same names and defaults, so that one argument list starts either server. Free of TensorFlow, so that a mistyped flag is
answered at once.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


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
    if text.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return BOOLEANS[text.lower()]


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
        epilog="python -m serving promote, rollback, apply or check, each with its own --help, is for running servers.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    models = parser.add_mutually_exclusive_group(required=True)
    models.add_argument("--model_config_file", type=Path, metavar="FILE", help="text proto ModelServerConfig")
    models.add_argument("--model_base_path", metavar="DIR", help="absolute path of one model's versions")
    add = parser.add_argument
    add("--model_name", help="name of the model in --model_base_path (default: default)")
    add("--host", help=f"address to listen on (default: {Options.host})")
    add("--port", type=_port, help=f"gRPC port, 0 for any free one (default: {Options.port})")
    add("--rest_api_port", help=argparse.SUPPRESS)
    for name, meaning in (
        ("model_config_file_poll_wait_seconds", "between two reads of --model_config_file, 0: read once (default: 0)"),
        ("file_system_poll_wait_seconds", "between two looks for new versions, 0: look once (default: 1)"),
    ):
        add(f"--{name}", type=_seconds, metavar="N", help=f"seconds {meaning}")
    for name, meaning in (
        ("allow_version_labels_for_unavailable_models", "let a new label point at a version not loaded yet"),
        ("enable_grpc_healthcheck_service", "serve grpc.health.v1.Health"),
    ):
        add(f"--{name}", type=_boolean, nargs="?", const=True, metavar="BOOL", help=meaning)
    return parser


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Options from `arguments` (default: sys.argv). A mistake is one line on stderr and exit status 2."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    if "rest_api_port" in given:
        parser.error("--rest_api_port is not supported: this development server speaks gRPC only")
    if "model_config_file" in given and "model_name" in given:
        parser.error("--model_name goes with --model_base_path; --model_config_file names its own models")
    if "model_config_file" not in given and given.get("model_config_file_poll_wait_seconds"):
        parser.error("--model_config_file_poll_wait_seconds needs --model_config_file")
    return Options(**given)
