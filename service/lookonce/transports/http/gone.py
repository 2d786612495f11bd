"""Callers that hang up: what was begun for them is dropped."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

T = TypeVar("T")


class CallerGone(Exception):
    """Nobody is left to answer; the access log calls it 499."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The outcome of `work`, which is cancelled when the caller hangs up. For requests whose body has been read."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerGone("the caller hung up before it was answered.")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
