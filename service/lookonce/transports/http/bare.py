"""Routes that FastAPI documents and does not run: nothing is injected into their functions, so nothing is solved."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Bare(APIRoute):
    """Its function takes the request and what stands in the path, as text."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **said: Any) -> None:  # noqa: ANN401  whatever FastAPI documents
        super().__init__(path, endpoint, **said)

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send), **scope["path_params"])
            await response(scope, receive, send)

        self.app = run
