"""When a request is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lookonce.errors import DeadlineExceeded


@asynccontextmanager
async def in_time(until: float | None) -> AsyncIterator[None]:
    """Raises DeadlineExceeded when it is not done by then, on the loop's clock; None is never."""
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("the request's time was over before it was answered; allow more.") from error
