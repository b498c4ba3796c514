"""Logs as lines of JSON on standard error, one an event."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any

LOGGER = logging.getLogger("kmax.serve")
_OURS = ("kmax.serve", "uvicorn.error")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Returns a record as a line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json() -> None:
    """Sends what the server and its HTTP library say to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == _OURS[0] else logging.WARNING)


def log(event: str, level: int = logging.INFO, exc_info: Any = None, **fields: Any) -> None:
    """Writes an event with what belongs to it."""
    LOGGER.log(level, event, exc_info=exc_info, extra={"fields": fields})
