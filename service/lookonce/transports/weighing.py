"""The memory that pictures take as they come: counted for all callers together, until each request has ended."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookonce.errors import Overloaded
from lookonce.transports.http.heads import text


@dataclass(slots=True)
class Scales:
    """So many bytes may be held at once."""

    most_bytes: int = 512 * 2**20
    held_bytes: int = 0

    def load(self) -> "Load":
        return Load(self)

    def refuse_when_full(self, size_bytes: int) -> None:
        if self.held_bytes + size_bytes > self.most_bytes:
            raise Overloaded(
                f"what is being read and answered may have {self.most_bytes} bytes together, and there is no room for "
                "this request now; try again shortly."
            )


@dataclass(slots=True)
class Load:
    """What one request holds; nothing in the end."""

    scales: Scales
    size_bytes: int = 0

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_raised: object) -> None:
        self.scales.held_bytes -= self.size_bytes
        self.size_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Raises Overloaded. One that is more than all there may be is all of it, and has room when it is alone."""
        wanted = min(size_bytes, self.scales.most_bytes - self.size_bytes)
        self.scales.refuse_when_full(wanted)
        self.scales.held_bytes += wanted
        self.size_bytes += wanted

    def refuse_early(self, declared_bytes: int) -> None:
        """A length is believed only so far: what never comes takes no room from others."""
        self.scales.refuse_when_full(min(declared_bytes, self.scales.most_bytes))


@dataclass(frozen=True, slots=True)
class Weighing:
    """ASGI middleware: whoever reads a body reads it over the scales. The request's load is in the scope's state."""

    app: ASGIApp
    scales: Scales

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with self.scales.load() as load:
            scope.setdefault("state", {})["load"] = load
            return await self.app(scope, _weighed(receive, load, text(scope, b"content-length") or ""), send)


def _weighed(receive: Receive, load: Load, declared: str) -> Receive:
    async def weighed() -> Message:
        if load.size_bytes == 0 and declared.isdecimal():
            load.refuse_early(int(declared))
        message = await receive()
        load.add(len(message.get("body", b"")))
        return message

    return weighed
