"""Waiting for what tells nobody that it has happened."""

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
