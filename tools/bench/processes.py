"""Processes of this machine as the kernel accounts for them, and children that never outlive us."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

GRACE_S: Final = 20.0
TELL_ME_WHEN_MY_PARENT_DIES: Final = 1


def cpu_s(pid: int) -> float:
    """What all threads of the process have used so far, the ended ones among them, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # As clock_getcpuclockid(3) has it.


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Whatever is started in the block runs on this core alone, for as long as it lives."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def child(command: Sequence[object], variables: Mapping[str, str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs as long as the block, and no longer than we do, however we end."""
    prctl = ctypes.CDLL(None).prctl
    process = subprocess.Popen(
        [str(word) for word in command],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=lambda: prctl(TELL_ME_WHEN_MY_PARENT_DIES, signal.SIGTERM),  # noqa: PLW1509  it takes no lock
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
