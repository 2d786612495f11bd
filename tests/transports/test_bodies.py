"""Every way to post pictures and every way to get it wrong, against a real server."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.transports.posting import BOUNDS, answer_on, application, serving, shown, talking

from lookonce.transports.http.gone import CallerGone
from lookonce.transports.posted.bodies import Reading
from lookonce.transports.posted.multipart import MAX_FIELD_BYTES, MAX_FIELDS

PICTURE = bytes(range(256)) * 20 + b"\r\n--edg\r\n--\r\n"
EDGE = "multipart/form-data; boundary=edge"


@dataclass
class Gateway:
    """Where it listens, a client for it, and what went wrong inside that no caller was told."""

    port: int
    client: httpx.AsyncClient
    seen: list[BaseException]

    async def post(self, content: bytes = b"", media: str | None = None, **more: str | bytes) -> httpx.Response:
        headers = {**({"Content-Type": media} if media else {}), **more}
        return await self.client.post("/", content=content, headers=headers)

    async def refusal(self, status: int, content: bytes = b"", media: str | None = None, **more: str | bytes) -> str:
        """What is said to a request that is refused; a good one after it is answered as ever."""
        answer = await self.post(content, media, **more)
        assert answer.status_code == status, answer.text
        assert (await self.post(PICTURE, "image/jpeg")).json()["pictures"] == [shown(PICTURE)]
        detail: str = answer.json()["detail"]
        assert detail[0].islower() or detail.startswith("Content-Type")
        assert detail.endswith(".")
        return detail


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Gateway]:
    seen: list[BaseException] = []
    async with (
        serving(application(Reading(BOUNDS, body_s=10.0), seen)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield Gateway(port, client, seen)


@pytest.fixture
def gateway(served: Gateway) -> Iterator[Gateway]:
    """Of which every test leaves no bug behind."""
    yield served
    bugs = [error for error in served.seen if not isinstance(error, CallerGone)]
    served.seen.clear()
    assert not bugs


def part(content: bytes, disposition: str = 'name="file"; filename="a.jpg"', edge: bytes = b"edge") -> bytes:
    return b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (edge, disposition.encode(), content)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


def in_base64(content: bytes = PICTURE) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    "media", ["image/jpeg", "IMAGE/PNG; q=1", "image/x-unheard-of", "application/octet-stream", None]
)
async def test_a_raw_body_is_one_picture(gateway: Gateway, media: str | None) -> None:
    assert (await gateway.post(PICTURE, media)).json() == {"pictures": [shown(PICTURE)], "fields": {}}


async def test_a_picture_may_come_in_chunks_of_unknown_number(gateway: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for first in range(0, len(PICTURE), 700):
            yield PICTURE[first : first + 700]

    answer = await gateway.client.post("/", content=chunks(), headers={"Content-Type": "image/jpeg"})
    assert answer.json()["pictures"] == [shown(PICTURE)]


async def test_the_largest_picture_is_taken_and_one_byte_more_is_not(gateway: Gateway) -> None:
    assert (await gateway.post(bytes(BOUNDS.max_bytes), "image/png")).status_code == 200
    assert "100001 bytes and at most 100000 are taken" in await gateway.refusal(
        413, bytes(BOUNDS.max_bytes + 1), "image/png"
    )


async def test_an_empty_body_is_refused(gateway: Gateway) -> None:
    assert "is empty" in await gateway.refusal(422, b"", "image/jpeg")
    assert "is empty" in await gateway.refusal(422)


async def test_a_form_holds_pictures_and_options_in_any_order(gateway: Gateway) -> None:
    files = [("file", ("a.jpg", PICTURE)), ("anything", ("b.jpg", b"second")), ("images[]", ("c", b""))]
    answer = await gateway.client.post("/", files=files, data={"confidence": "0.5", "classes": "Käfer,cat"})
    assert answer.json() == {
        "pictures": [shown(PICTURE), shown(b"second"), shown(b"")],
        "fields": {"confidence": "0.5", "classes": "Käfer,cat"},
    }


@pytest.mark.parametrize("name", ["file", "files", "image", "images", "file[]", "images[]"])
async def test_a_part_with_a_picture_s_name_needs_no_file_name(gateway: Gateway, name: str) -> None:
    answer = await gateway.post(form(part(PICTURE, f'name="{name}"')), EDGE)
    assert answer.json()["pictures"] == [shown(PICTURE)]


async def test_a_form_is_the_same_however_it_is_cut_into_pieces(gateway: Gateway) -> None:
    picture = b"\r\n--edg\r\n-\r\r\n--edgx" * 9
    body = form(part(picture), part(b"0.5", 'name="iou"'), part(picture, 'name="x"; filename=""'))
    for size in (1, 2, 7, 64):

        async def pieces(size: int = size) -> AsyncIterator[bytes]:
            for first in range(0, len(body), size):
                yield body[first : first + size]

        answer = await gateway.client.post("/", content=pieces(), headers={"Content-Type": EDGE})
        assert answer.json() == {"pictures": [shown(picture)] * 2, "fields": {"iou": "0.5"}}


async def test_a_picture_too_large_is_an_error_in_its_place(gateway: Gateway) -> None:
    answer = await gateway.post(form(part(b"good"), part(bytes(BOUNDS.max_bytes + 1)), part(b"fine")), EDGE)
    first, second, third = answer.json()["pictures"]
    assert (first, third) == (shown(b"good"), shown(b"fine"))
    assert second["code"] == "image-too-large"
    assert "100001 bytes and at most 100000" in second["detail"]


WRONG_FORMS: dict[str, tuple[bytes, str, int, str]] = {
    "nothing in it": (b"", EDGE, 422, "breaks off"),
    "no part": (form(), EDGE, 422, "no picture"),
    "options alone": (form(part(b"1", 'name="iou"')), EDGE, 422, "no picture"),
    "no end": (part(PICTURE), EDGE, 422, "breaks off before its last boundary"),
    "an end in the midst of a header": (part(b"x") + b"--edge\r\nContent-Dis", EDGE, 422, "breaks off"),
    "another boundary": (form(part(b"x")), "multipart/form-data; boundary=other", 422, "form is broken"),
    "no boundary": (form(part(b"x")), "multipart/form-data", 422, "names no boundary"),
    "an endless boundary": (form(part(b"x")), f"multipart/form-data; boundary={'e' * 300}", 422, "form is broken"),
    "text": (b"hello", EDGE, 422, "form is broken"),
    "a part without a name": (form(part(b"x", "a=b")), EDGE, 422, "has no name"),
    "a part without headers": (b"--edge\r\n\r\nx\r\n--edge--", EDGE, 422, "has no name"),
    "too long a header": (form(part(b"x", f'name="{"n" * 9000}"')), EDGE, 422, "form is broken"),
    "too many headers": (b"--edge\r\n" + b"A: b\r\n" * 99 + b"\r\nx\r\n--edge--", EDGE, 422, "form is broken"),
    "an option twice": (
        form(part(b"1", 'name="iou"'), part(b"2", 'name="iou"')),
        EDGE,
        422,
        "iou: it is in the form twice",
    ),
    "an option that is no text": (form(part(b"\xff", 'name="iou"')), EDGE, 422, "iou: it is no UTF-8 text"),
    "too long an option": (form(part(b"1" * (MAX_FIELD_BYTES + 1), 'name="iou"')), EDGE, 422, "iou: it has more than"),
    "too many options": (
        form(*(part(b"1", f'name="o{n}"') for n in range(MAX_FIELDS + 1))),
        EDGE,
        422,
        "more than 32 fields",
    ),
    "one picture too many": (form(*[part(b"x")] * 5), EDGE, 413, "more than the 4 images"),
    "ten thousand parts": (form(*[part(b"x")] * 10_000), EDGE, 413, "more than"),
    "far too much": (form(*[part(bytes(BOUNDS.max_bytes))] * 20), EDGE, 413, "or fewer of them"),
}


@pytest.mark.parametrize("what", WRONG_FORMS)
async def test_a_wrong_form_is_refused_with_what_is_wrong(gateway: Gateway, what: str) -> None:
    body, media, status, words = WRONG_FORMS[what]
    assert words in await gateway.refusal(status, body, media)


async def test_json_holds_pictures_and_options(gateway: Gateway) -> None:
    options = {"confidence": 0.5, "classes": ["cat", 2], "soft": True}
    data_url = {"base64": "data:image/jpeg;base64," + in_base64()["base64"]}
    wrapped = {"base64": base64.encodebytes(PICTURE).decode().replace("\n", "\r\n")}
    body = json.dumps({"images": [in_base64(), data_url, wrapped], "options": options}).encode()
    answer = await gateway.post(body, "application/json; charset=utf-8")
    assert answer.json() == {"pictures": [shown(PICTURE)] * 3, "fields": options}


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        ({"base64": "%%%"}, "invalid-image", "images[1].base64: this is no valid base64"),
        ({"base64": "QUJD="}, "invalid-image", "no valid base64"),
        ({"base64": "QUJD===="}, "invalid-image", "no valid base64"),
        ({"base64": "QUJD=QUI"}, "invalid-image", "no valid base64"),
        ({"base64": "QUJD==QUJDRA"}, "invalid-image", "no valid base64"),
        ({"base64": "===="}, "invalid-image", "no valid base64"),
        ({"base64": "QUI"}, "invalid-image", "no valid base64"),
        ({"base64": "QU=JD"}, "invalid-image", "no valid base64"),
        ({"base64": "QUJDé"}, "invalid-image", "no valid base64"),
        ({"base64": "data:image/jpeg,abc"}, "invalid-image", "images[1].base64: a data: URL is taken as"),
        (in_base64(bytes(100_003)), "image-too-large", "images[1].base64: the image has more than the 100000 bytes"),
        ({"url": "https://example.com/a.jpg"}, "image-fetch-failed", "images[1].url: pictures by URL are switched off"),
    ],
)
async def test_a_bad_picture_in_json_is_an_error_in_its_place(
    gateway: Gateway, image: dict[str, str], code: str, words: str
) -> None:
    answer = await gateway.post(
        json.dumps({"images": [in_base64(), image, in_base64(b"z")]}).encode(), "application/json"
    )
    first, second, third = answer.json()["pictures"]
    assert (first, third) == (shown(PICTURE), shown(b"z"))
    assert second["code"] == code
    assert words in second["detail"]


async def test_the_refusal_of_a_url_names_the_setting(gateway: Gateway) -> None:
    answer = await gateway.post(b'{"images":[{"url":"https://example.com/a.jpg"}]}', "application/json")
    assert "LOOKONCE_URLS__HOSTS" in answer.json()["pictures"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no valid JSON"),
        (b'{"images": [', "no valid JSON"),
        (b'{"images": [NaN]}', "no valid JSON"),
        (b"[" * 5_000, "no valid JSON"),
        (b"[" * 100_000, "more than 10000 brackets, braces, commas and colons"),
        (b'{"images":[' + b"{}," * 90_000 + b"{}]}", "more than 10000 brackets, braces, commas and colons"),
        (b" " * 70_000 + b":" * 10_001, "more than 10000 brackets, braces, commas and colons"),
        (b'{"images": "\xff"}', "no valid JSON"),
        (b"[]", "the body: an object is needed"),
        (b"{}", "images: a list is needed"),
        (b'{"images": {"base64": ""}}', "images: a list is needed"),
        (b'{"images": [], "inputs": 1}', "the body: nothing is called 'inputs' here; known are images and options"),
        (b'{"images": [7]}', "images[0]: an object is needed"),
        (b'{"images": [{}]}', "images[0]: either base64 or url"),
        (b'{"images": [{"base64": "", "url": ""}]}', "images[0]: either base64 or url"),
        (b'{"images": [{"base64": ""}, {"b64": ""}]}', "images[1]: nothing is called 'b64'"),
        (b'{"images": [{"base64": null}]}', "images[0].base64: a text is needed"),
        (b'{"images": [], "options": 5}', "options: an object is needed"),
    ],
)
async def test_json_that_is_not_ours_is_refused_at_its_place(gateway: Gateway, body: bytes, words: str) -> None:
    assert words in await gateway.refusal(422, body, "application/json")


async def test_json_with_too_many_images_is_refused_before_they_are_looked_at(gateway: Gateway) -> None:
    body = json.dumps({"images": [{"base64": "%"}] * 5}).encode()
    assert "holds 5 images and at most 4" in await gateway.refusal(413, body, "application/json")


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "multipart/mixed; boundary=x", "nonsense", "é/ü"])
async def test_another_content_type_is_refused_with_those_that_are_taken(gateway: Gateway, media: str) -> None:
    said = await gateway.refusal(415, PICTURE, **{"Content-Type": media.encode()})
    assert all(taken in said for taken in ("image/*", "multipart/form-data", "application/json"))


async def test_curl_without_a_header_is_told_how(gateway: Gateway) -> None:
    said = await gateway.refusal(415, PICTURE, "application/x-www-form-urlencoded")
    assert "--data-binary @picture.jpg -H 'Content-Type: image/jpeg'" in said


async def test_an_encoded_body_is_refused(gateway: Gateway) -> None:
    said = await gateway.refusal(415, gzip.compress(PICTURE), "image/jpeg", **{"Content-Encoding": "gzip"})
    assert "(gzip)" in said
    assert (await gateway.post(PICTURE, **{"Content-Encoding": "identity"})).status_code == 200


@pytest.mark.parametrize("media", ["image/jpeg", EDGE, "application/json", "text/plain"])
async def test_a_caller_that_sends_on_and_on_sees_the_refusal(gateway: Gateway, media: str) -> None:
    """Fifty times what is taken, of unknown length: the answer arrives, and not a reset."""

    async def flood() -> AsyncIterator[bytes]:
        if media == EDGE:
            yield part(b"")[:-2]
        for _ in range(50):
            yield bytes(BOUNDS.max_bytes)

    answer = await gateway.client.post("/", content=flood(), headers={"Content-Type": media})
    assert answer.status_code == (415 if media == "text/plain" else 413)
    assert answer.headers["connection"] == "close"
    assert (await gateway.post(PICTURE)).status_code == 200


async def test_a_length_above_the_limit_is_refused_before_a_byte_came(gateway: Gateway) -> None:
    async with talking(gateway.port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        status, body = await answer_on(reader)
    assert status == 413
    assert b"999999999999" in body


async def test_a_caller_that_asks_first_is_told_to_go_on_or_not_to(gateway: Gateway) -> None:
    for length, wanted in ((5, b"HTTP/1.1 100 Continue"), (10**7, b"HTTP/1.1 413")):
        async with talking(gateway.port) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert head.startswith(wanted)
            if wanted.endswith(b"Continue"):
                writer.write(b"12345")
                assert (await answer_on(reader))[0] == 200


async def test_json_may_hold_one_of_the_largest_pictures_and_not_ever_more_of_them() -> None:
    reading = Reading(replace(BOUNDS, max_bytes=80 * 2**20, max_images=9), body_s=10.0)
    async with serving(application(reading, [])) as port, talking(port) as (reader, writer):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (125 * 2**20))
        assert (await answer_on(reader))[0] == 413


SOME_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["images", "base64", "url", "options"]), inner),
    max_leaves=8,
)
SOME_FORM = st.lists(
    st.sampled_from(
        [b"--edge", b"--", b"\r\n", b"\r", b"\n", b"Content-Disposition: form-data; ", b'name="file"', b":"]
    )
    | st.sampled_from([b'filename="', b"; ", b"name=", b"x" * 5000, part(b"y"), part(b"1", 'name="iou"')])
    | st.binary(max_size=20),
    max_size=12,
).map(b"".join)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sent=st.tuples(st.sampled_from([EDGE, 'multipart/form-data; boundary="', "image/png"]), SOME_FORM)
    | st.tuples(st.just("application/json"), SOME_JSON.map(lambda value: json.dumps(value).encode()) | st.binary())
)
async def test_no_bytes_whatever_are_answered_as_a_bug_of_ours(gateway: Gateway, sent: tuple[str, bytes]) -> None:
    media, body = sent
    answer = await gateway.post(body, media)
    assert answer.status_code in {200, 413, 415, 422}
    if answer.status_code != 200:
        assert answer.json()["detail"].endswith(".")
