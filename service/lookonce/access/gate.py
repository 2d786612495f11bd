"""The door: who asks, what they may use and how much of it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Caller(Protocol):
    """Somebody whose key was good, or anybody where no key is asked for."""

    @property
    def name(self) -> str: ...

    def refuse_model(self, model: str) -> None:
        """Raises Forbidden when this caller may not use the model."""

    def count(self, images: int) -> None:
        """Raises RateLimited when these images are too many for now, ImageTooLarge when they always are.

        Unauthenticated where the key ended meanwhile: it is asked for each frame of a stream.
        """

    def turn(self) -> AbstractContextManager[None]:
        """One request or stream of the caller; raises RateLimited when too many are open at once."""


class Gate(Protocol):
    def caller(self, key: str | None) -> Caller:
        """Whose key it is. Raises Unauthenticated for no key and for a wrong one, alike."""


class Anybody:
    """Whoever comes, where no keys are asked for."""

    name = "anonymous"

    def refuse_model(self, model: str) -> None: ...

    def count(self, images: int) -> None: ...

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()


class OpenGate:
    """Lets everybody in."""

    def caller(self, key: str | None) -> Caller:  # noqa: ARG002  a key that nobody asked for does no harm
        return Anybody()
