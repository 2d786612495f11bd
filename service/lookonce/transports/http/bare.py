"""Routes that FastAPI documents and does not run: nothing is injected into their functions, so nothing is solved."""

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send


class Bare(APIRoute):
    """Its function takes the request and what stands in the path, as text."""

    async def answer(self, request: Request) -> Response:
        response: Response = await self.endpoint(request, **request.path_params)
        return response

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = Route.matches(self, scope)
        found["route"] = self
        return match, found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = self.methods or set()
        if scope["method"] not in methods:
            raise HTTPException(405, headers={"Allow": ", ".join(methods)})
        response = await self.answer(Request(scope, receive, send))
        await response(scope, receive, send)
