"""Bodies that come in many small pieces, and those that are just as large as they may be."""

import json
from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from tests.transports.gateways import BOUNDS, Fakes, Gateway, Serve
from tests.transports.posting import answer_on, talking

Framed = Callable[[bytes, int], tuple[bytes, Iterable[bytes]]]


@pytest.fixture(scope="module")
async def gateway(serve: Serve, fake_of: Fakes) -> AsyncIterator[Gateway]:
    async with serve(fake_of()) as gateway:
        yield gateway


def declared(body: bytes, piece_bytes: int) -> tuple[bytes, Iterable[bytes]]:
    """A header that says how long the body is, and its pieces."""
    return b"Content-Length: %d" % len(body), cut(body, piece_bytes)


def chunked(body: bytes, piece_bytes: int) -> tuple[bytes, Iterable[bytes]]:
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in cut(body, piece_bytes)]
    return b"Transfer-Encoding: chunked", [*chunks, b"0\r\n\r\n"]


def cut(body: bytes, piece_bytes: int) -> list[bytes]:
    return [body[first : first + piece_bytes] for first in range(0, len(body), piece_bytes)]


async def answer_to(gateway: Gateway, header: bytes, pieces: Iterable[bytes]) -> tuple[int, dict[str, object]]:
    async with talking(gateway.port) as (reader, writer):
        writer.write(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n%s\r\n\r\n" % header)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        status, body = await answer_on(reader, 30)
        return status, json.loads(body)


def padded(png: bytes, size_bytes: int) -> bytes:
    """The same picture, with that behind its end which nobody looks at."""
    return png + bytes(size_bytes - len(png))


@pytest.mark.parametrize("framed", [declared, chunked])
@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
async def test_a_picture_in_many_small_pieces_is_one_picture(
    framed: Framed, piece_bytes: int, gateway: Gateway, png: bytes
) -> None:
    status, answer = await answer_to(gateway, *framed(png, piece_bytes))
    assert (status, answer["image"]) == (200, {"width": 40, "height": 30})
    assert gateway.requests()[-1]["bytes"] == len(png)
    assert gateway.service.scales.held_bytes == 0


@pytest.mark.parametrize("framed", [declared, chunked])
async def test_a_body_of_just_the_limit_is_taken(framed: Framed, gateway: Gateway, png: bytes) -> None:
    status, answer = await answer_to(gateway, *framed(padded(png, BOUNDS.max_bytes), 5000))
    assert (status, answer["image"]) == (200, {"width": 40, "height": 30})


@pytest.mark.parametrize(
    ("framed", "size"),
    [(declared, f"{BOUNDS.max_bytes + 1} bytes"), (chunked, f"at least {BOUNDS.max_bytes + 1} bytes")],
)
async def test_one_byte_more_is_refused(framed: Framed, size: str, gateway: Gateway, png: bytes) -> None:
    status, answer = await answer_to(gateway, *framed(padded(png, BOUNDS.max_bytes + 1), 5000))
    assert (status, answer["code"]) == (413, "image-too-large")
    assert f"the body has {size} and at most {BOUNDS.max_bytes} are taken" in str(answer["detail"])
    assert gateway.service.scales.held_bytes == 0
