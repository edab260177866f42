"""Logging to standard error, as text for people or as one JSON object a line for machines."""

import json
import logging
from datetime import UTC, datetime
from typing import Any


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, process, and the exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, logger, message, with line ends escaped: a relay's text cannot forge a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


def config(log_format: str, level: str) -> dict[str, Any]:
    """Return a dictConfig for every process. log_format: "text" or "json"; level: "INFO" and so on."""
    formatters: dict[str, dict[str, Any]] = {
        "text": {"()": TextFormatter, "format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": JsonFormatter},
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": formatters,
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": log_format}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            # Two lines a task would be 400 a minute for 200 hosts; failures stay.
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            # Its tracebacks for a host that does not answer; remote/ssh.py tells the error in its own words.
            "paramiko": {"level": "CRITICAL"},
            "gunicorn.error": {"propagate": True},
            "django.server": {"propagate": True},
        },
    }
