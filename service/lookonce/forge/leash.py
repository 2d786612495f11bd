"""Becomes another program, which the kernel ends when whoever started it dies: `leash.py PARENT_PID PROGRAM...`.

A script on the standard library alone. Python code between fork and exec, as `preexec_fn` runs it, would wake gRPC's
threads in the child and crash it.
"""

import ctypes
import os
import signal
import sys

TELL_ME_WHEN_MY_PARENT_DIES = 1
CANNOT_START = 126


def become(parent_pid: int, command: list[str]) -> int:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(TELL_ME_WHEN_MY_PARENT_DIES, signal.SIGKILL)
    if os.getppid() != parent_pid:
        return CANNOT_START
    try:
        os.execvp(command[0], command)  # noqa: S606 - to become it is the purpose
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
    return CANNOT_START


if __name__ == "__main__":
    sys.exit(become(int(sys.argv[1]), sys.argv[2:]))
