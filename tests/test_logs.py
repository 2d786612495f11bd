"""Log lines."""

import json
import logging
from collections.abc import Iterator

import pytest

from lookonce.logs import adopt_libraries, logger


@pytest.fixture(autouse=True)
def root_handlers() -> Iterator[None]:
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers = handlers


def test_a_line_is_json_with_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    log = logger("info", "json")
    log.info("request", route="/v1/detect", took_ms=1.5)
    log.debug("nobody reads this")
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "request", "level": "info", "route": "/v1/detect", "took_ms": 1.5}


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_no_variables(capsys: pytest.CaptureFixture[str], form: str) -> None:
    log = logger("info", form)
    try:
        secret = "".join(["lo_", "secret"])
        int(secret[3:])
    except ValueError:
        log.exception("bug")
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert "lo_secret" not in said  # a local variable, of which no message spoke


def test_libraries_speak_through_our_lines(capsys: pytest.CaptureFixture[str]) -> None:
    adopt_libraries(logger("info", "json"))
    logging.getLogger("uvicorn.error").warning("%s is strange", "this")
    logging.getLogger("uvicorn.error").info("nobody reads this")
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["level"], line["logger"]) == ("this is strange", "warning", "uvicorn.error")


@pytest.mark.parametrize("said", ["é", "\x9b2J", "a\u2028b", "\ud800", "\U0001f600"])
def test_whatever_is_said_a_line_is_plain_ascii_and_one(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger("info", "json").info("request", client=said)
    line = capsys.readouterr().err
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["client"] == said
