"""How long work tells how far it is, without knowing who listens."""

from collections.abc import Callable
from typing import TypeAlias

Report: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def unheard(_doing: str, _done: int, _total: int) -> None:
    """For callers that do not listen."""
