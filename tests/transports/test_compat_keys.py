"""Where other services' clients put their keys, and how they are turned away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.transports.gateways import Fakes, Gateway, Serve
from tests.transports.strangers import (
    APIS,
    AS_FORM,
    BASE64,
    JPEG,
    PYTHON_REQUESTS,
    body_of,
    said,
    two,
)

from lookonce.access.keyring import Keyring
from lookonce.access.keys import hash_of
from lookonce.transports.posted.fetching import Fetcher


@pytest.fixture
async def pictures() -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server with one picture, and what was asked of it."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(JPEG) + JPEG)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.fixture
async def locked(
    serve: Serve, fake_of: Fakes, tmp_path: Path, pictures: tuple[str, list[bytes]]
) -> AsyncIterator[Gateway]:
    """A gateway that knows one client, whose key is `secret`, and may fetch pictures from one server."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"clients": [{"name": "frigate", "keys": [hash_of("secret")], "models": ["echo"]}]}))
    file.chmod(0o600)
    gate = Keyring(file, lambda _event, _facts: None)
    fetcher = Fetcher([pictures[0]], 5.0, 2**20, lambda _address: True)
    fake = fake_of("echo", "other", script=two)
    async with serve(fake, apis=APIS, gate=gate, default="echo", fetcher=fetcher) as running:
        yield running


PLACES = {
    "a DeepStack form": ("/v1/vision/detection", "form"),
    "the body of v1": ("/compat/roboflow/infer/object_detection", "json"),
    "the URL of v0": ("/compat/roboflow/echo/1?api_key={key}", "base64"),
    "the URL of DeepStack": ("/v1/vision/detection?api_key={key}", "form without"),
    "a token": ("/compat/huggingface/echo", "bearer"),
    "the URL of Hugging Face": ("/compat/huggingface/echo?api_key={key}", "raw"),
}


async def ask(gateway: Gateway, place: str, key: str) -> httpx.Response:
    path, how = PLACES[place]
    sent: dict[str, dict[str, object]] = {
        "form": {"files": {"image": JPEG}, "data": {"api_key": key}},
        "form without": {"files": {"image": JPEG}},
        "json": {"json": body_of(BASE64, api_key=key)},
        "base64": {"content": BASE64},
        "bearer": {"content": JPEG, "headers": {"Authorization": f"Bearer {key}".strip()}},
        "raw": {"content": JPEG},
    }
    return await gateway.http.post(path.format(key=key), **sent[how])


@pytest.mark.parametrize("place", PLACES)
async def test_a_key_is_taken_where_the_client_puts_it_and_never_logged(locked: Gateway, place: str) -> None:
    assert (await ask(locked, place, "secret")).status_code == 200
    for wrong in ("wrong", ""):
        refused = await ask(locked, place, wrong)
        assert refused.status_code == 401
        assert "www-authenticate" in refused.headers
        assert set(refused.json()) <= {"success", "error", "message"}
    assert [line.get("client") for line in locked.requests()] == ["frigate", None, None]
    assert "secret" not in repr(locked.lines)
    assert "wrong" not in repr(locked.lines)


async def test_a_key_in_a_url_opens_no_route_of_our_own(locked: Gateway) -> None:
    as_jpeg = {"Content-Type": "image/jpeg"}
    reply = await locked.http.post("/v1/detect?api_key=secret", content=JPEG, headers=as_jpeg)
    assert reply.status_code == 401


async def test_two_keys_that_differ_are_refused(locked: Gateway) -> None:
    form_with = {"files": {"image": JPEG}, "data": {"api_key": "another"}}
    reply = await locked.http.post("/v1/vision/detection?api_key=secret", **form_with)
    assert (reply.status_code, reply.json()["success"]) == (401, False)


async def test_a_wrong_key_outside_the_body_is_refused_before_the_body_has_come(locked: Gateway) -> None:
    head = PYTHON_REQUESTS + AS_FORM + "Content-Length: 1000000\r\nAuthorization: Bearer wrong\r\n"
    assert (await said(locked, "POST /v1/vision/detection", head))[0] == 401


async def test_a_client_sees_and_asks_the_models_that_it_may(locked: Gateway) -> None:
    key = {"Authorization": "Bearer secret"}
    names = await locked.http.post("/v1/vision/custom/list", headers=key)
    assert names.json()["models"] == ["echo"]
    registry = await locked.http.get("/compat/roboflow/model/registry?api_key=secret")
    assert [each["model_id"] for each in registry.json()["models"]] == ["echo/1"]
    for path in ("huggingface/other", "roboflow/model/add"):
        sent = {"json": {"model_id": "other/1"}} if path.endswith("add") else {"content": JPEG}
        assert (await locked.http.post(f"/compat/{path}", headers=key, **sent)).status_code == 403
    assert (await locked.http.get("/compat/roboflow/model/registry")).status_code == 401
    assert (await locked.http.get("/compat/roboflow/info")).status_code == 200


async def test_a_full_gateway_says_when_to_come_back(serve: Serve, fake_of: Fakes) -> None:
    slow = fake_of(latency_s={"echo": 0.5}, script=two)
    async with serve(slow, apis=APIS, max_in_flight=1) as running:
        asked = (running.http.post("/v1/vision/detection", files={"image": JPEG}) for _ in range(8))
        replies = await asyncio.gather(*asked)
    assert {reply.status_code for reply in replies} == {200, 429}
    for reply in replies:
        assert reply.status_code == 200 or (int(reply.headers["retry-after"]) >= 1 and not reply.json()["success"])


@pytest.mark.parametrize("inside", [True, False])
async def test_a_picture_by_url_is_fetched_for_those_alone_whose_key_is_good(
    locked: Gateway, pictures: tuple[str, list[bytes]], *, inside: bool
) -> None:
    url, asked = f"http://{pictures[0]}/a.jpg", pictures[1]

    async def post(key: str) -> httpx.Response:
        body = body_of(image={"type": "url", "value": url}, api_key=key)
        if inside:
            return await locked.http.post("/compat/roboflow/infer/object_detection", json=body)
        return await locked.http.post("/compat/roboflow/echo/1", params={"api_key": key, "image": url})

    assert ((await post("wrong")).status_code, asked) == (401, [])
    good = await post("secret")
    assert (good.status_code, len(good.json()["predictions"]), len(asked)) == (200, 2, 1)
