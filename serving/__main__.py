"""python -m serving: the development server, see --help; or, with a command's name, a rollout (serving/rollout/)."""

import logging
import os
import signal
import sys
import threading
from types import FrameType

from serving import flags, ports
from serving.errors import ServingError


def main() -> int:
    """Roll out where the first argument is a command, or else serve until SIGTERM or SIGINT.

    Returns:
        Exit status: 0 after a stop, 1 if it cannot start. A bad flag exits with 2.
    """
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        # Here, because the server has no use for the packages of a command line.
        from serving.rollout import __main__ as rollout

        rollout.main()
        return 0
    options = flags.parse()
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends a stop that takes too long

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Read when TensorFlow is imported; most of its start-up notices would bury our lines.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # It calls loading into a session deprecated.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        # Here too, because importing TensorFlow takes seconds.
        ports.require_free(options.host, options.port)
        from serving.server import ModelServer

        server = ModelServer(options)
        server.start()
    except ServingError as error:
        print(f"python -m serving: {error}", file=sys.stderr)
        return 1
    print(f"serving on {options.host}:{server.port}", flush=True)
    stopping.wait()
    logging.info("stopping")
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
