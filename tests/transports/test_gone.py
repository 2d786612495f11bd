"""Callers that hang up while they wait for an answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.transports.posting import answer_on, serving, talking
from tests.waiting import until

from lookonce.errors import DeadlineExceeded
from lookonce.pipeline.deadline import in_time
from lookonce.transports.http.gone import AWHILE_S, CallerGone, unless_gone


@dataclass
class Work:
    """What the application does, and what became of it."""

    finish: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[str] = field(default_factory=list)

    async def run(self) -> str:
        self.events.append("begun")
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        self.events.append("done")
        return "answer"

    async def fail(self) -> str:
        raise ValueError("it failed")

    async def answer(self, request: Request) -> PlainTextResponse:
        await request.body()
        try:
            return PlainTextResponse(
                await unless_gone(request, self.fail() if b"fail" in await request.body() else self.run())
            )
        except CallerGone:
            self.events.append("gone")
            return PlainTextResponse("", 499)
        except ValueError as error:
            return PlainTextResponse(str(error), 500)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def port(work: Work) -> AsyncIterator[int]:
    async with serving(Starlette(routes=[Route("/", work.answer, methods=["GET", "POST"])])) as port:
        yield port


def tasks() -> int:
    return len(asyncio.all_tasks())


@pytest.mark.parametrize(
    "leave", [lambda writer: writer.transport.abort(), asyncio.StreamWriter.close, asyncio.StreamWriter.write_eof]
)
@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_work_for_a_caller_that_hung_up_is_cancelled(
    work: Work, port: int, leave: Callable[[asyncio.StreamWriter], None], body: bytes
) -> None:
    before = tasks()
    async with talking(port) as (_reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await until(lambda: "begun" in work.events)
        leave(writer)
        await until(lambda: "gone" in work.events)
    assert work.events == ["begun", "cancelled", "gone"]
    await until(lambda: tasks() <= before)


async def test_work_that_ends_is_answered_and_nothing_goes_on_waiting(work: Work, port: int) -> None:
    before = tasks()
    work.finish.set()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(20):
            assert (await client.post("/", content=b"abc")).text == "answer"
        await until(lambda: tasks() <= before)
    assert "cancelled" not in work.events


async def test_what_goes_wrong_in_the_work_comes_through(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.post("/", content=b"fail")).text == "it failed"


async def test_a_caller_that_sends_its_next_request_already_is_not_gone(work: Work, port: int) -> None:
    async with talking(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        await until(lambda: "begun" in work.events)
        work.finish.set()
        assert await answer_on(reader) == (200, b"answer")
        assert await answer_on(reader) == (200, b"answer")


@dataclass
class Line:
    """A request's connection without a server, on which the caller can hang up."""

    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    is_watched: bool = False

    async def receive(self) -> dict[str, str]:
        self.is_watched = True
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http"}, self.receive)


async def test_whoever_cancels_the_request_cancels_its_work() -> None:
    work, before = Work(), tasks()
    waiting = asyncio.create_task(unless_gone(Line().request, work.run()))
    await until(lambda: "begun" in work.events)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.events == ["begun", "cancelled"]
    assert tasks() == before


async def test_nobody_looks_after_a_caller_that_is_answered_soon() -> None:
    line, work, before = Line(), Work(), tasks()
    work.finish.set()
    for _ in range(20):
        assert await unless_gone(line.request, work.run()) == "answer"
    await asyncio.sleep(2 * AWHILE_S)
    assert not line.is_watched
    assert tasks() == before


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_who_hangs_up_just_when_the_answer_is_ready_does_no_harm(leaves_first: bool) -> None:
    """Both within one turn of the loop; a cancellation left over would end whatever this task waits for next."""
    line, work, before = Line(), Work(), tasks()

    async def serve() -> str:
        try:
            end = await unless_gone(line.request, work.run())
        except CallerGone:
            end = "gone"
        await asyncio.sleep(0.01)
        return end

    serving = asyncio.create_task(serve())
    await until(lambda: line.is_watched)
    events = line.hung_up, work.finish
    for event in events if leaves_first else reversed(events):
        event.set()
    assert await serving == ("gone" if leaves_first else "answer")
    assert serving.cancelling() == 0
    await until(lambda: tasks() == before)


@pytest.mark.parametrize("leaves", ["never", "just before", "just after"])
async def test_a_time_that_ends_around_it_is_told_whether_or_not_the_caller_leaves_then(leaves: str) -> None:
    line, work, loop, before = Line(), Work(), asyncio.get_running_loop(), tasks()
    over = loop.time() + 3 * AWHILE_S

    async def serve() -> str:
        if leaves == "just before":
            loop.call_at(over, line.hung_up.set)
        async with in_time(over):
            if leaves == "just after":
                loop.call_at(over, line.hung_up.set)
            return await unless_gone(line.request, work.run())

    with pytest.raises(DeadlineExceeded):
        await serve()
    assert line.is_watched
    assert work.events == ["begun", "cancelled"]
    await until(lambda: tasks() == before)


async def test_a_caller_that_leaves_in_time_is_gone_and_not_late() -> None:
    line, work = Line(), Work()
    asyncio.get_running_loop().call_later(2 * AWHILE_S, line.hung_up.set)
    with pytest.raises(CallerGone):
        async with in_time(asyncio.get_running_loop().time() + 30):
            await unless_gone(line.request, work.run())
    assert work.events == ["begun", "cancelled"]
