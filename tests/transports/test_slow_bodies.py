"""Bodies that come slowly, or not to their end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from tests.transports.posting import BOUNDS, answer_on, application, serving, shown, talking
from tests.waiting import until

from lookonce.transports.http.gone import CallerGone
from lookonce.transports.posted.bodies import Reading


@pytest.fixture
async def impatient() -> AsyncIterator[int]:
    """The port of a gateway that waits for a body only for a moment."""
    async with serving(application(Reading(BOUNDS, body_s=0.3), [], linger_s=0.3)) as port:
        yield port


async def test_a_body_that_comes_byte_by_byte_is_given_up_after_its_time(impatient: int) -> None:
    async with talking(impatient) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")

        async def trickle() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        try:
            status, body = await answer_on(reader)
            assert status == 408
            assert b"0.3 s" in body
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        finally:
            trickling.cancel()


@pytest.mark.parametrize("head", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_body_that_never_comes_is_given_up_after_its_time(impatient: int, head: bytes) -> None:
    async with talking(impatient) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % head)
        assert (await answer_on(reader))[0] == 408


@pytest.mark.parametrize("leave", [asyncio.StreamWriter.close, asyncio.StreamWriter.write_eof])
async def test_a_caller_that_leaves_in_the_midst_of_its_body_is_gone(
    leave: Callable[[asyncio.StreamWriter], None],
) -> None:
    seen: list[BaseException] = []
    async with serving(application(Reading(BOUNDS, 10.0), seen)) as port, talking(port) as (_reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1234")
        await writer.drain()
        leave(writer)
        await until(lambda: bool(seen))
    assert isinstance(seen[0], CallerGone)


async def test_two_requests_on_one_connection_are_both_answered() -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    async with serving(application(Reading(BOUNDS, 10.0), [])) as port, talking(port) as (reader, writer):
        writer.write(one + one)
        for _ in range(2):
            assert json.loads((await answer_on(reader))[1])["pictures"] == [shown(b"abc")]
