"""Another program, run to its end: all it says goes to a log file, and nothing of it outlives us."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lookonce.errors import EngineFailed
from lookonce.forge import leash

LISTEN_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Errand:
    """What is run, where its words are kept, and how long it may take (None: as long as it wants)."""

    command: Sequence[str]
    log: Path
    timeout_s: float | None = None
    folder: Path | None = None
    variables: Mapping[str, str] | None = None


def run(errand: Errand, heard: Callable[[str], None]) -> int:
    """The exit code, negative for a signal; `heard` is given each line as it is said."""
    try:
        with errand.log.open("wb") as sink:
            process = _start(errand, sink.fileno())
    except OSError as error:
        raise EngineFailed(f"{errand.command[0]} cannot be started: {error.filename}: {error.strerror}.") from error
    try:
        with errand.log.open(encoding="utf-8", errors="replace") as words:
            return _listen(process, words, errand, heard)
    finally:
        _end(process)


def _start(errand: Errand, sink: int) -> subprocess.Popen[bytes]:
    program = errand.command[0]
    if shutil.which(program, path=(errand.variables or os.environ).get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *errand.command],
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=subprocess.STDOUT,
        cwd=errand.folder,
        env={**os.environ, **(errand.variables or {})},
        process_group=0,
    )


def _listen(process: subprocess.Popen[bytes], words: TextIO, errand: Errand, heard: Callable[[str], None]) -> int:
    deadline_s = None if errand.timeout_s is None else time.monotonic() + errand.timeout_s
    while (code := process.poll()) is None:
        _hear(words, heard)
        if deadline_s is not None and time.monotonic() > deadline_s:
            program = Path(errand.command[0]).name
            raise EngineFailed(f"{program} did not finish within {errand.timeout_s:.0f} s; its log is {errand.log}.")
        time.sleep(LISTEN_EVERY_S)
    _hear(words, heard)
    return code


def _hear(words: TextIO, heard: Callable[[str], None]) -> None:
    for line in words:
        heard(line.rstrip())


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
