"""How much is taken, from whom and for how long: deadlines, admission, keys and the end."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.transports.gateways import Fakes, Gateway, Serve
from tests.waiting import until

from lookonce.access.keyring import Keyring
from lookonce.access.keys import hash_of, new_key
from lookonce.transports.service import Patience


@pytest.fixture(scope="module")
async def gateway(serve: Serve, fake_of: Fakes) -> AsyncIterator[Gateway]:
    async with serve(fake_of()) as gateway:
        yield gateway


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Keyring, str]:
    """One client, who may use `echo`, for two pictures in two minutes; and its key."""
    key, file = new_key(), tmp_path / "keys.json"
    camera = {"name": "camera", "keys": [hash_of(key)], "models": ["echo"], "images_per_s": 1 / 60, "burst": 2}
    file.write_text(json.dumps({"clients": [camera]}))
    file.chmod(0o600)
    return Keyring(file, lambda _event, _facts: None), key


async def test_the_time_of_a_request_is_kept_by_the_gateway_s_own_timer(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    fake = fake_of()
    async with serve(fake, patience=Patience(request_s=0.2)) as gateway:
        fake.latency_s = {"echo": 30.0}
        own = await gateway.http.post("/v1/detect", content=png)
        named = await gateway.http.post("/v1/detect", content=png, headers={"X-Request-Timeout-Ms": "100"})
        assert gateway.service.detector.admission.in_flight == 0
    assert [(answer.status_code, answer.json()["code"]) for answer in (own, named)] == [(504, "deadline-exceeded")] * 2
    assert fake.calls[0].timeout_s <= 0.2
    assert fake.calls[1].timeout_s <= 0.1


@pytest.mark.parametrize("named", ["0", "-1", "60001", "soon", "nan", "", "1e99"])
async def test_a_time_that_is_none_is_refused(named: str, gateway: Gateway) -> None:
    answer = await gateway.http.post("/v1/detect", content=b"never read", headers={"X-Request-Timeout-Ms": named})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-options")


async def test_64_callers_on_a_limit_of_8_get_an_answer_or_are_told_when_to_come_again(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    fake = fake_of(latency_s={"echo": 0.1})
    async with serve(fake, max_in_flight=8) as gateway:

        async def call() -> list[tuple[int, str | None]]:
            answers = [await gateway.http.post("/v1/detect", content=png) for _ in range(3)]
            return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]

        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(call()) for _ in range(64)]
            while not all(caller.done() for caller in callers):
                health = [await gateway.http.get("/healthz"), await gateway.admin.get("/readyz")]
                assert [each.status_code for each in health] == [200, 200]
                await asyncio.sleep(0.02)
    seen = Counter(answer for caller in callers for answer in caller.result())
    assert set(seen) == {(200, None), (429, "1")}
    assert seen[200, None] >= 8


async def test_a_full_house_is_told_before_the_body_is_read(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with serve(fake, max_in_flight=1) as gateway:
        fake.latency_s = {"echo": 20.0}
        first = asyncio.create_task(gateway.http.post("/v1/detect", content=png))
        await until(lambda: len(fake.calls) == 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        async with asyncio.timeout(4):
            answer = await reader.readuntil(b"}")
        writer.close()
        first.cancel()
    assert answer.startswith(b"HTTP/1.1 429")


async def test_no_more_requests_are_open_than_the_limit(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with serve(fake, max_requests=2) as gateway:
        fake.latency_s = {"echo": 20.0}
        waiting = [asyncio.create_task(gateway.http.post("/v1/detect", content=png)) for _ in range(2)]
        await until(lambda: len(fake.calls) == 2)
        refused, healthy = await gateway.http.get("/v1/models"), await gateway.http.get("/healthz")
        for each in waiting:
            each.cancel()
        await until(lambda: gateway.service.requests.in_flight == 0)
        assert (await gateway.http.get("/v1/models")).status_code == 200
    assert (refused.status_code, refused.json()["code"], healthy.status_code) == (429, "overloaded", 200)


async def test_while_it_shuts_down_new_work_is_refused_and_probes_tell_the_truth(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    async with serve(fake_of()) as gateway:
        gateway.service.life.leaving.set()
        leaving = await gateway.http.post("/v1/detect", content=png), await gateway.http.get("/readyz")
        gateway.service.life.draining.set()
        draining = await gateway.http.post("/v1/detect", content=png), await gateway.http.get("/healthz")
    assert [each.status_code for each in (*leaving, *draining)] == [200, 503, 503, 200]
    assert draining[0].json()["code"] == "draining"
    assert draining[0].headers["retry-after"] == "1"


async def test_where_keys_are_asked_for_only_probes_and_documents_are_open(
    serve: Serve, fake_of: Fakes, png: bytes, keys: tuple[Keyring, str]
) -> None:
    keyring, key = keys
    closed = [("POST", "/v1/detect"), ("POST", "/v1/models/echo/detect"), ("POST", "/v1/models/echo/versions/1/detect")]
    closed += [("GET", "/v1/models"), ("GET", "/v1/models/echo")]
    async with serve(fake_of("echo", "other"), gate=keyring, default="echo") as gateway:
        for given in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}):
            for method, path in closed:
                refused = await gateway.http.request(method, path, headers=given)
                assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
                assert refused.headers["www-authenticate"] == 'Bearer realm="lookonce"'
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert (await gateway.http.get(path)).status_code == 200
        gateway.http.headers["Authorization"] = f"Bearer {key}"
        good = await gateway.http.post("/v1/detect", content=png)
        other = await gateway.http.post("/v1/models/other/detect", content=png)
        listed = await gateway.http.get("/v1/models")
    assert good.status_code == 200
    assert (other.status_code, other.json()["code"]) == (403, "forbidden")
    assert [model["name"] for model in listed.json()["models"]] == ["echo"]
    assert {line.get("client") for line in gateway.requests()} == {None, "camera"}
    assert key not in str(gateway.lines)


async def test_a_client_s_own_limit_is_told_with_its_time(
    serve: Serve, fake_of: Fakes, png: bytes, keys: tuple[Keyring, str]
) -> None:
    keyring, key = keys
    async with serve(fake_of(), gate=keyring) as gateway:
        answers = [await gateway.http.post("/v1/detect", content=png, headers={"X-API-Key": key}) for _ in range(4)]
    assert {answer.status_code for answer in answers[:2]} == {200}
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate-limited")
    assert int(answers[-1].headers["retry-after"]) > 10
