"""Looking for processes that nobody wanted to leave behind."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def _processes_about(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and "triton" in words:
            found.append(words)
    return found


@pytest.fixture
def gone() -> Callable[[Path], None]:
    """Waits until no server, stub or keeper names the folder any more."""

    def wait(folder: Path) -> None:
        deadline = time.monotonic() + 30
        while _processes_about(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _processes_about(folder) == []

    return wait


@pytest.fixture
def lookonce() -> Path:
    """The command as its user calls it."""
    return Path(sys.executable).with_name("lookonce")
