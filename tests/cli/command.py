"""Runs the real `lookonce`, as a person would."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOOKONCE = str(Path(sys.executable).parent / "lookonce")
PATIENCE_S = 120


def run(
    *arguments: object, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    words, own = [LOOKONCE, *map(str, arguments)], _wide() | dict(variables or {})
    return subprocess.run(words, cwd=cwd, env=own, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@contextmanager
def started(*arguments: object, variables: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    words, own = [LOOKONCE, *map(str, arguments)], _wide() | dict(variables or {})
    process = subprocess.Popen(words, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)


def says_one_thing(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that refused; whatever else it printed is a fault."""
    assert done.returncode not in (0, 1), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _wide() -> dict[str, str]:
    return dict(os.environ) | {"COLUMNS": "200"}
