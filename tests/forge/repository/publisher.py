"""Publishes versions on demand, each in a process of its own that can be made to die, or be refused, at a step.

A step is a change to the file system; Python's audit events tell each one before it happens. Orders come as lines of
JSON on stdin; each is answered by a line with how the process ended (Python's convention: -9 is SIGKILL).
"""

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lookonce.card import card_from_json
from lookonce.errors import LookOnceError
from lookonce.forge.repository import publish
from lookonce.forge.staging import staging

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "open"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
REFUSED, INTERRUPTED = 3, 4


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_obey(order))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


def _obey(order: dict[str, Any]) -> int:
    _arrange(order["at"], order["how"])
    card, root = card_from_json(order["card"], "the order"), Path(order["root"])
    try:
        with staging(root, card.name) as folder:
            (folder / "model.onnx").write_text(order["graph"])
            publish(root, card, folder)
    except LookOnceError:
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _arrange(at: int, how: str) -> None:
    """Meet the fate `how` just before change number `at`."""
    seen = 0

    def watch(event: str, facts: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in CHANGES or (event == "open" and not (isinstance(facts[2], int) and facts[2] & WRITING)):
            return
        seen += 1
        if seen == at:
            _meet(how)

    sys.addaudithook(watch)


def _meet(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "interrupt":
        raise KeyboardInterrupt
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


if __name__ == "__main__":
    main()
