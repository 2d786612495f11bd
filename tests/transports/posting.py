"""A small application of its own around `read_posted`, behind a real server; and a caller that speaks raw HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from lookonce.errors import ServiceError
from lookonce.pipeline.request import Picture
from lookonce.pipeline.stages import Bounds
from lookonce.transports.http.gone import CallerGone
from lookonce.transports.http.lingering import Lingering
from lookonce.transports.posted.bodies import Posted, Reading, read_posted
from lookonce.transports.status import code_of, message_of, problem, status_of
from lookonce.transports.weighing import Scales, Weighing

BOUNDS = Bounds(max_bytes=100_000, max_pixels=10_000, max_images=4)


class QuietServer(uvicorn.Server):
    """Leaves the signals of the test run alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """A real server on a free port of this machine, in this event loop; the port."""
    config = uvicorn.Config(app, port=0, http="httptools", log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    server = QuietServer(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done(), "the server did not start"
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


def application(reading: Reading, seen: list[BaseException], linger_s: float = 5.0) -> ASGIApp:
    """Answers what it read; whatever is not the caller's fault lies in `seen`."""

    async def read(request: Request) -> JSONResponse:
        try:
            return JSONResponse(told(await read_posted(request, reading)))
        except ServiceError as error:
            return JSONResponse(problem(error, ""), status_of(error).http)
        except CallerGone as gone:
            seen.append(gone)
            return JSONResponse(None, 499)
        except BaseException as bug:
            seen.append(bug)
            raise

    return Lingering(Weighing(Starlette(routes=[Route("/", read, methods=["POST"])]), Scales()), linger_s)


def told(posted: Posted) -> dict[str, object]:
    return {"pictures": [shown(picture) for picture in posted.pictures], "fields": posted.fields}


def shown(picture: Picture | ServiceError) -> dict[str, object]:
    """What the application says of one picture."""
    if isinstance(picture, ServiceError):
        return {"code": code_of(picture), "detail": message_of(picture)}
    return {"bytes": len(picture), "sha256": sha256(picture).hexdigest()}


@asynccontextmanager
async def talking(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_on(reader: asyncio.StreamReader, within_s: float = 10.0) -> tuple[int, bytes]:
    """Status and body of one answer that says its length."""
    async with asyncio.timeout(within_s):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length.partition(b":")[2]))
