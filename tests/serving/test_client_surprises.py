"""The Python client where it is called wrongly, or where what answers is no LookOnce: always an error of its own."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from lookonce.client import BadCall, Client, ClientError, Misunderstood, Refused, Unreachable
from lookonce.client.client import _wait_s
from lookonce.client.results import Detections

FOUND = {"box": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}, "confidence": 0.5, "class_id": 0, "label": "star"}
GOOD: dict[str, Any] = {
    "request_id": "1",
    "model": {"name": "shapes"},
    "image": {"width": 8, "height": 6},
    "detections": [FOUND],
    "timings_ms": {"total": 1.5},
}


@dataclass
class Stranger:
    """Says what it is told to, and remembers what it was asked."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def says(self, body: object, status: int = 200, **headers: str) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    told = Stranger()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.asked.append((self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(stranger: Stranger) -> Iterator[Client]:
    with Client(stranger.url, tries=2) as client:
        yield client


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[" * 200_000,
        [1],
        None,
        7,
        {"a": 1},
        GOOD | {"image": None},
        GOOD | {"image": {"width": "wide", "height": 6}},
        GOOD | {"detections": 7},
        GOOD | {"detections": [FOUND | {"box": [1, 2, 3, 4]}]},
        GOOD | {"detections": [FOUND | {"confidence": None}]},
        GOOD | {"timings_ms": {}},
    ],
    ids=lambda body: str(body)[:60],
)
def test_an_answer_of_something_else_is_told(stranger: Stranger, client: Client, body: object) -> None:
    stranger.says(body)
    for ask in (lambda: client.detect(b"x"), lambda: client.detect_many([b"x", b"y"]), client.models):
        with pytest.raises(Misunderstood, match=r"what answered at http://127.0.0.1:\d+ said 200 and nothing"):
            ask()


@pytest.mark.parametrize("results", [[], [GOOD], [GOOD] * 3, [GOOD, None], [GOOD, {"error": 7}], {"a": 1, "b": 2}])
def test_several_answers_that_do_not_fit_the_pictures_are_told(
    stranger: Stranger, client: Client, results: object
) -> None:
    stranger.says(GOOD | {"results": results})
    with pytest.raises(Misunderstood):
        client.detect_many([b"x", b"y"])


def test_an_answer_may_say_more_than_we_know(stranger: Stranger, client: Client) -> None:
    more = FOUND | {"box": FOUND["box"] | {"angle": 3}, "mask": []}
    stranger.says(GOOD | {"detections": [more], "new": 1})
    (found,) = client.detect(b"x")
    assert (found.label, found.box.y2) == ("star", 4.0)


@pytest.mark.parametrize("body", [b"", b"<html>", None, [1], "x", {}, {"detail": None}], ids=str)
def test_a_refusal_without_a_problem_document_is_told_by_its_status(
    stranger: Stranger, client: Client, body: object
) -> None:
    for status in (307, 403, 500, 502):
        stranger.says(body, status)
        with pytest.raises(Refused) as refused:
            client.detect(b"x")
        assert (refused.value.status, refused.value.code) == (status, "unknown")
        assert "None" not in str(refused.value)


def test_an_answer_that_cannot_be_unpacked_is_told(stranger: Stranger, client: Client) -> None:
    stranger.says(b"abc", Content_Encoding="gzip")
    with pytest.raises(Misunderstood, match="cannot be read"):
        client.detect(b"x")


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("-1", 0),
        ("1e9", 10),
        ("inf", 10),
        pytest.param(formatdate(usegmt=True), 1, id="a date"),
        ("", 1),
        ("soon", 1),
    ],
)
def test_it_waits_as_long_as_it_is_told_and_ten_seconds_at_most(told: str, wait_s: float) -> None:
    assert _wait_s({"Retry-After": told}) == wait_s


@pytest.mark.parametrize("told", ["-1", "0"])
def test_whoever_is_busy_is_asked_again_whatever_is_told(stranger: Stranger, client: Client, told: str) -> None:
    stranger.says({"code": "overloaded", "detail": "later."}, 429, Retry_After=told)
    with pytest.raises(Refused, match="later"):
        client.detect(b"x")
    assert len(stranger.asked) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda url: Client(url, tries=0), "tries must be at least 1"),
        (lambda url: Client(url, timeout_s=0), "timeout_s above 0"),
        (lambda url: Client(url, key="schlüssel"), "letters or spaces that no key has"),
        (lambda url: Client(url, key="lo_a lo_b"), "letters or spaces that no key has"),
        (lambda _url: Client("localhost:8080"), "begins with neither http:// nor https://"),
        (lambda _url: Client("ftp://me:secret@host"), "begins with neither http:// nor https://"),
        (lambda _url: Client("http://"), "names no host"),
        (lambda _url: Client("http://[::1"), "cannot be read"),
        (lambda url: Client(url).detect(b"x", format="coco"), "leave `format` out"),
        (lambda url: Client(url).detect_many([b"x"], format="image"), "leave `format` out"),
        (lambda url: Client(url).detect(b"x", version=1), "name the model too"),
        (lambda url: Client(url).detect(b"x", classes=["c" * 70_000]), "cannot be asked that way"),
        (lambda url: Client(url).detect(b"x", model="\udcff"), "no text that can be sent"),
    ],
)
def test_what_can_be_no_call_is_not_sent(stranger: Stranger, call: Callable[[str], object], words: str) -> None:
    with pytest.raises(BadCall, match=words) as refused:
        call(stranger.url)
    assert isinstance(refused.value, ClientError)
    assert "secret" not in str(refused.value)
    assert stranger.asked == []


def test_a_key_loses_what_a_file_left_around_it_and_is_never_shown(stranger: Stranger) -> None:
    stranger.says(GOOD)
    Client(stranger.url, key=" lo_key\r\n").detect(b"x")
    assert stranger.asked[0][1]["X-API-Key"] == "lo_key"
    for key in ("lo_k\ney", "lo_k\0ey", "lo_keÿ"):
        with pytest.raises(BadCall) as refused:
            Client(stranger.url, key=key)
        assert "lo_k" not in str(refused.value)


def test_a_password_in_the_address_is_not_shown() -> None:
    with Client("http://me:secret@127.0.0.1:9") as client, pytest.raises(Unreachable) as refused:
        client.models()
    assert "http://127.0.0.1:9" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, ""),
        ({"confidence": None, "classes": None, "format": None}, ""),
        ({"format": "json", "soft": True}, "?format=json&soft=True"),
        ({"classes": ["star", 3]}, "?classes=star%2C3"),
        ({"classes": {"b", "a"}}, "?classes=a%2Cb"),
        ({"classes": frozenset({"a&b"})}, "?classes=a%26b"),
    ],
)
def test_options_are_sent_as_the_service_reads_them(
    stranger: Stranger, client: Client, options: dict[str, object], query: str
) -> None:
    stranger.says(GOOD)
    client.detect(b"x", **options)
    assert stranger.asked[0][0] == f"/v1/detect{query}"


@pytest.mark.parametrize(
    ("model", "path"),
    [("a/b?x=1#y", "a%2Fb%3Fx%3D1%23y"), ("..", "%2E%2E"), ("yolo.v8 ü", "yolo%2Ev8%20%C3%BC"), ("%2E", "%252E")],
)
def test_a_model_s_name_leads_nowhere_else(stranger: Stranger, client: Client, model: str, path: str) -> None:
    stranger.says(GOOD)
    client.detect(b"x", model=model, version=3)
    assert stranger.asked[0][0] == f"/v1/models/{path}/versions/3/detect"


def test_of_one_picture_alone_an_error_of_the_options_is_not_the_picture_s(stranger: Stranger, client: Client) -> None:
    for code, status in (("invalid-options", 422), ("forbidden", 403), ("unknown", 413)):
        stranger.says({"code": code, "detail": "no."}, status)
        with pytest.raises(Refused, match="no"):
            client.detect_many([b"x"])
    stranger.says({"code": "invalid-image", "detail": "no."}, 422)
    (refused,) = client.detect_many([b"x"])
    assert not isinstance(refused, Detections)
    assert refused.code == "invalid-image"
