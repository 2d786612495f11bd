"""How a command ends: an error is one sentence and an exit code, and SIGTERM tidies up like Ctrl-C."""

import signal
import sys
from types import FrameType

import typer
from rich.markup import escape

from lookonce.cli import console
from lookonce.errors import LookOnceError


def run(commands: typer.Typer) -> None:
    signal.signal(signal.SIGTERM, _leave)
    try:
        commands()
    except LookOnceError as error:
        console.err.print(f"[bold red]{error.code}[/]: {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(console.exit_code(error))


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(143)
