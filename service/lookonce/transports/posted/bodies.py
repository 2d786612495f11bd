"""What callers post: one picture as it is, a form of them, or JSON that holds or names them.

`image/*`, `application/octet-stream` and no Content-Type at all: the body is the picture.
`multipart/form-data`: each part with a file name, or called `file`, `files`, `image` or `images`, is a picture;
every other part is an option.
`application/json`: `{"images": [{"base64": …} or {"url": …}, …], "options": {…}}`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from starlette.datastructures import Headers
from starlette.requests import Request

from lookonce.errors import ImageFetchFailed, ImageTooLarge, InvalidImage, ServiceError, SlowBody, UnsupportedMedia
from lookonce.pipeline.deadline import in_time
from lookonce.pipeline.request import Picture
from lookonce.pipeline.stages import Bounds
from lookonce.transports.http.gone import CallerGone, unless_gone
from lookonce.transports.posted.envelope import Envelope, Link, read_envelope
from lookonce.transports.posted.fetching import Fetcher
from lookonce.transports.posted.multipart import MAX_FIELD_BYTES, MAX_FIELDS, FormReader
from lookonce.transports.weighing import Load

FRAME_BYTES: Final = 2**12
"""Room for what stands around one picture: the boundary and headers of its part, or its braces and names in JSON."""
MAX_JSON_BYTES: Final = 64 * 2**20
"""JSON is read in one piece, so more pictures do not make it larger than this; the largest single one always fits."""

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Reading:
    """How much is read and for how long, and who fetches what is only named; without a fetcher nobody does."""

    bounds: Bounds
    body_s: float
    fetcher: Fetcher | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    """The pictures in their order, each one that could not be had as its error; and the options as they were sent."""

    pictures: list[Picture | ServiceError]
    fields: dict[str, object] = field(default_factory=dict)


_Read: TypeAlias = Callable[[Request, Bounds], Awaitable[Envelope]]


async def read_posted(request: Request, reading: Reading) -> Posted:
    """Raises BadRequest for a body that cannot be taken, and CallerGone when the caller hangs up."""
    read = _way_to_read(request.headers)
    async with _come_within(reading.body_s):
        envelope = await read(request, reading.bounds)
    return Posted(await with_fetched(request, envelope.images, reading.fetcher), envelope.fields)


async def read_whole(request: Request, max_bytes: int, body_s: float) -> bytes:
    """The body as it is. Raises ImageTooLarge, SlowBody and CallerGone."""
    async with _come_within(body_s):
        return await _whole(request, max_bytes)


def _way_to_read(headers: Headers) -> _Read:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(f"the body is encoded ({encoding[:40]}); send it as it is, without Content-Encoding.")
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    read = _READS.get("image/*" if media.startswith("image/") else media)
    if read is None:
        raise UnsupportedMedia(_not_taken(media))
    return read


def _not_taken(media: str) -> str:
    if media == _FORM:
        return (
            f"the body is marked {_FORM}, which curl does unless it is told otherwise; send a picture with "
            "--data-binary @picture.jpg -H 'Content-Type: image/jpeg', or with -F file=@picture.jpg."
        )
    return (
        f"Content-Type {media[:80]!r} is not taken; send one picture as image/*, or several as multipart/form-data "
        "or application/json."
    )


async def _read_picture(request: Request, bounds: Bounds) -> Envelope:
    body = await _whole(request, bounds.max_bytes)
    if not body:
        raise InvalidImage("the body is empty; send the picture's bytes in it.")
    return Envelope([body])


async def _read_form(request: Request, bounds: Bounds) -> Envelope:
    form = FormReader(request.headers["content-type"], bounds)
    pictures, fields = bounds.max_images * (bounds.max_bytes + FRAME_BYTES), MAX_FIELDS * MAX_FIELD_BYTES
    body = Body(request, pictures + fields)
    while body.goes_on:
        form.feed(await body.next())
    return form.envelope()


async def _read_json(request: Request, bounds: Bounds) -> Envelope:
    one = bounds.max_bytes * 3 // 2 + FRAME_BYTES
    pictures, fields = min(one * bounds.max_images, max(one, MAX_JSON_BYTES)), MAX_FIELDS * MAX_FIELD_BYTES
    body = await _whole(request, pictures + fields)
    return await asyncio.to_thread(read_envelope, body, bounds)


_READS: Final[dict[str, _Read]] = {
    "": _read_picture,
    "application/octet-stream": _read_picture,
    "image/*": _read_picture,
    "multipart/form-data": _read_form,
    "application/json": _read_json,
}


async def _whole(request: Request, max_bytes: int) -> bytes:
    body = Body(request, max_bytes)
    chunks = []
    while body.goes_on:
        chunks.append(await body.next())
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class Body:
    """A body as it comes; refused for the length it declares, or as soon as too much of it has come."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise _too_large(declared, max_bytes)
        self.goes_on = True
        self._request, self._left, self._max_bytes = request, max_bytes, max_bytes

    async def next(self) -> bytes:
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise CallerGone("the caller hung up before its body had come.")
        chunk: bytes = message.get("body", b"")
        self.goes_on = message.get("more_body", False)
        self._left -= len(chunk)
        if self._left < 0:
            raise _too_large(f"at least {self._max_bytes - self._left}", self._max_bytes)
        return chunk


def _too_large(size: str, max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"the body has {size} bytes and at most {max_bytes} are taken; send a smaller picture, or fewer of them."
    )


def _come_within(body_s: float) -> in_time:
    def slow() -> SlowBody:
        return SlowBody(f"the body had not come after {body_s:g} s; send it faster, or a smaller one.")

    return in_time(asyncio.get_running_loop().time() + body_s, slow)


async def with_fetched(
    request: Request, images: Sequence[Picture | ServiceError | Link], fetcher: Fetcher | None
) -> list[Picture | ServiceError]:
    links = [image for image in images if isinstance(image, Link)]
    if not links:
        return [image for image in images if not isinstance(image, Link)]
    fetching = [_fetched(link, fetcher, request.state.load) for link in links]
    fetched = iter(await unless_gone(request, asyncio.gather(*fetching)))
    return [next(fetched) if isinstance(image, Link) else image for image in images]


async def _fetched(link: Link, fetcher: Fetcher | None, load: Load) -> Picture | ServiceError:
    try:
        if fetcher is None:
            raise ImageFetchFailed(
                "pictures by URL are switched off here; send the picture itself, or have LOOKONCE_URLS__HOSTS name "
                "the hosts they may come from."
            )
        picture = await fetcher.fetch(link.url)
        load.add(len(picture))
    except ServiceError as error:
        return type(error)(f"{link.place}: {error}")
    return picture
