"""python -m api: serve the gateway over HTTP. Settings come from EMOTION_* environment variables."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from api.app import create_app
from api.config_file.document import ConfigFileError
from api.observe.logs import configure_logging
from api.observe.metrics import Metrics, MetricsDirectoryError, require_metrics_directory
from api.observe.tracing import TracingError, traced
from api.observe.version import package_version
from api.server import Drain, GatewayServer
from api.settings import Settings, WrongSettingsError, read_settings
from faces.errors import ModelFileError

logger = logging.getLogger("api")


def main() -> int:
    """Exit status: 0 after SIGINT or SIGTERM, 1 when the port cannot be had, 2 for a wrong setting or experiment."""
    try:
        settings = read_settings()
        require_metrics_directory()
    except (WrongSettingsError, MetricsDirectoryError) as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging(settings.log_level, as_json=settings.log_json)
    try:
        with traced(package_version()):
            return _serve(settings)
    except TracingError as error:
        print(error, file=sys.stderr)
        return 2


def _serve(settings: Settings) -> int:
    try:
        drain, metrics = Drain(), Metrics()
        app = create_app(settings, drain=drain, metrics=metrics)
    except (ConfigFileError, ModelFileError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        # Bound here, because uvicorn would say only after start-up, amid other lines, that the port is taken.
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        # The socket module appends the address to strerror, which would repeat it.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        print(f"cannot listen on {settings.host}:{settings.port}: {reason}", file=sys.stderr)
        return 1
    # The server stops gracefully on these signals and then raises them again, for whoever handled them before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    logger.info("listening on http://%s:%d", *listener.getsockname()[:2])
    try:
        with _metrics_served(settings, metrics):
            GatewayServer(app, drain, settings, metrics).run(sockets=[listener])
    except _PortTakenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class _PortTakenError(Exception):
    """Of /metrics."""


@contextmanager
def _metrics_served(settings: Settings, metrics: Metrics) -> Iterator[None]:
    """/metrics on a port of its own, where a setting says so.

    Raises:
        _PortTakenError: it cannot be had.
    """
    if settings.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.host, metrics.registry)
    except OSError as error:
        raise _PortTakenError(
            f"cannot serve metrics on {settings.host}:{settings.metrics_port}: {error.strerror}"
        ) from error
    logger.info("metrics on http://%s:%d/metrics", settings.host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
