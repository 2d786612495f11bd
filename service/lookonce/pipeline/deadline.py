"""When a request is over."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from lookonce.errors import DeadlineExceeded, ServiceError


def late() -> ServiceError:
    return DeadlineExceeded("the request's time was over before it was answered; allow more.")


class in_time:  # noqa: N801  it is read as what it does: `async with in_time(until):`
    """Raises an error when it is not done by `until`, on the loop's clock; None is never."""

    __slots__ = ("_error", "_timeout")

    def __init__(self, until: float | None, error: Callable[[], ServiceError] = late) -> None:
        self._timeout, self._error = asyncio.timeout_at(until), error

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, raised, traceback)
        except TimeoutError as timeout:
            raise self._error() from timeout
