"""The playground: one page that needs nothing from anywhere else and may reach nothing but this gateway."""

import re
from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_INLINE: Final = re.compile(r"<(script|style)[^>]*>(.*?)</\1>", re.DOTALL)


def route() -> Route:
    page = files("lookonce.transports.http").joinpath("web", "index.html").read_text(encoding="utf-8")
    etag = f'"{sha256(page.encode()).hexdigest()[:32]}"'
    headers = {
        "Content-Security-Policy": policy_of(page),
        "ETag": etag,
        "Cache-Control": "no-cache",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    async def playground(request: Request) -> Response:
        if request.headers.get("if-none-match", "").removeprefix("W/") == etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return HTMLResponse(page, headers=headers)

    return Route("/", playground, name="playground", include_in_schema=False)


def policy_of(page: str) -> str:
    """A Content-Security-Policy under which the page's own script and style run, by their hashes, and no others."""
    hashes = {tag: b64encode(sha256(text.encode()).digest()).decode() for tag, text in _INLINE.findall(page)}
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{hashes['script']}'",
            f"style-src 'sha256-{hashes['style']}'",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )
