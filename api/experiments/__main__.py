"""python -m api.experiments < experiments.yaml: check it as a gateway with this EMOTION_MODELS would, print it as JSON.

Exit status 1 for a file that a gateway would refuse, with a line for each problem.
"""

import os
import sys
from pathlib import Path

from api.experiments.config import ExperimentsError, parse
from api.settings import Settings, split_names


def main() -> int:
    models = split_names(os.environ.get("EMOTION_MODELS", "")) or Settings.model_fields["models"].default
    try:
        config = parse(sys.stdin.buffer.read(), Path("experiments.yaml"), models)
    except ExperimentsError as error:
        print(error, file=sys.stderr)
        return 1
    print(config.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
