"""Log records with the id of the request they belong to, as text or as JSON lines."""

import json
import logging
import sys
from datetime import UTC, datetime

from api.observe import tracing
from api.observe.request_id import request_id


class _WithRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get() or "-"
        record.trace = tracing.ids()
        return True


class JsonFormatter(logging.Formatter):
    """One object per line: time (UTC), level, logger, message, request_id and what `extra["fields"]` holds.

    Within a trace, trace_id and span_id as well.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
            **getattr(record, "trace", {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str, *, as_json: bool) -> None:
    """Send everything, the server's own records too, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithRequestId())
    handler.setFormatter(
        JsonFormatter()
        if as_json
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # One says a line for each broken form, of which its sender is told; the other how it is made, at every start.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
