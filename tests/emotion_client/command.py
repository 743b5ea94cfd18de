"""The command `emotion` as a process."""

import sys

# With Ctrl-C as a terminal gives it: what a shell starts in the background has it ignored, and so have its children.
_SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from emotion_client.cli.app import main
main()
"""
EMOTION = [sys.executable, "-c", _SCRIPT]
