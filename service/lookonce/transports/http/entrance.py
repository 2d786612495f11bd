"""The way in for an HTTP request: who asks, whether we still answer, and whether there is room for one more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from lookonce.access.gate import Caller
from lookonce.transports.service import Service


@asynccontextmanager
async def turn(request: Request, service: Service, key: str | None) -> AsyncIterator[Caller]:
    """One request's stay. Raises Draining, Unauthenticated, Overloaded or RateLimited before anything is read of it."""
    service.life.refuse_when_draining()
    caller = service.gate.caller(key)
    request.state.caller = caller
    async with service.requests.room_for(1, patient=False):
        with caller.turn():
            yield caller
