"""python -m api.experiments < experiments.yaml: check it as a gateway with this EMOTION_MODELS would, print it as JSON.

For a file that a gateway would refuse it prints a line for each problem, and the exit status is 1.
"""

import os
import sys
from pathlib import Path

from api.config_file.document import ConfigFileError
from api.experiments.config import parse
from api.settings import Settings, split_names

if __name__ == "__main__":
    try:
        models = split_names(os.environ.get("EMOTION_MODELS", "")) or Settings.model_fields["models"].default
    except ValueError as error:
        sys.exit(f"EMOTION_MODELS: {error}")
    try:
        print(parse(sys.stdin.buffer.read(), Path("experiments.yaml"), models).model_dump_json())
    except ConfigFileError as error:
        sys.exit(str(error))
