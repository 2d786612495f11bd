"""A small process between us and Triton: it stops Triton when we go away, however we go, and sweeps up behind it.

It runs as a script on the standard library alone: `keeper.py MEMORY_PREFIX GRACE_S COMMAND...`. Its standard input is a
pipe that only we hold: when that ends, by our wish or by our death, Triton's time is over. Its standard error is the
log.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

TELL_ME_WHEN_MY_PARENT_DIES = 1
SIGNALLED = 128
POLL_S = 0.1


def keep(memory_prefix: str, grace_s: float, command: list[str]) -> int:
    """Triton's exit code as a shell tells it, once it and all its children are gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)
    triton = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        process_group=0,
        preexec_fn=_die_with_the_keeper,  # noqa: PLW1509  the keeper has one thread
    )
    sys.stdout.write(f"{triton.pid}\n")
    sys.stdout.flush()
    while triton.poll() is None and not _is_left_alone():
        pass
    _stop(triton, grace_s)
    for segment in Path("/dev/shm").glob(f"{memory_prefix}*"):  # noqa: S108  Triton's stubs share memory there
        segment.unlink(missing_ok=True)
    return triton.returncode if triton.returncode >= 0 else SIGNALLED - triton.returncode


def _ignore(_signal: int, _frame: object) -> None:
    """Ctrl-C reaches us through the pipe; a handler, unlike SIG_IGN, is not handed down to Triton."""


def _die_with_the_keeper() -> None:
    ctypes.CDLL(None).prctl(TELL_ME_WHEN_MY_PARENT_DIES, signal.SIGKILL)


def _is_left_alone() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def _stop(triton: subprocess.Popen[bytes], grace_s: float) -> None:
    triton.terminate()
    with suppress(subprocess.TimeoutExpired):
        triton.wait(grace_s)
    with suppress(ProcessLookupError):
        os.killpg(triton.pid, signal.SIGKILL)
    triton.wait()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
