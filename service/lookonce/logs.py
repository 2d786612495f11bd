"""Log lines on stderr: JSON for machines, text for people."""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def in_json(_logger: object, _method: str, event: EventDict) -> str:
    """As fast as it can be had. What orjson refuses, and what would not be plain ASCII, is escaped by Python."""
    try:
        line = orjson.dumps(event, default=repr, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()
    except orjson.JSONEncodeError:
        return json.dumps(event, default=repr)
    return line if line.isascii() else json.dumps(event, default=repr)


FORMS: Final[Mapping[str, tuple[Processor, ...]]] = {
    "json": (structlog.processors.format_exc_info, in_json),
    "text": (
        structlog.dev.ConsoleRenderer(
            colors=False, pad_event_to=0, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ),
}
"""Tracebacks are plain: one that shows local variables would show keys."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What lines are written on. One that cannot be, for the disk is full or the reader gone, is lost and no more."""

    file: TextIO

    def write(self, line: str) -> None:
        with suppress(OSError):
            print(f"{line}\n", end="", file=self.file, flush=True)

    debug = info = warning = error = write


def logger(level: str, form: str) -> structlog.stdlib.BoundLogger:
    """A logger of its own; structlog's and Python's own configuration stay as they are."""
    log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        Paper(sys.stderr),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            *FORMS[form],
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    )
    return log.bind()


class Adopted(logging.Handler):
    """Takes in what libraries say through Python's own logging."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say(record.getMessage(), logger=record.name, exc_info=record.exc_info)


def adopt_libraries(log: structlog.stdlib.BoundLogger) -> None:
    """uvicorn, grpc and asyncio speak through our lines from now on, when they have something to worry about.

    What python-multipart worries about is the caller's form, which is answered to the caller.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.WARNING, handlers=[Adopted(log)], force=True)
