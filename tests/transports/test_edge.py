"""What every HTTP request gets, whatever it asks: an id, a log line, an end, and never a traceback."""

import asyncio

import pytest
from tests.transports.gateways import Fakes, Gateway, Serve
from tests.waiting import until

from lookonce.inference.port import Call, Candidates
from lookonce.transports.http.edge import traceparent_from
from lookonce.transports.http.gone import AWHILE_S
from lookonce.transports.service import Patience

SECRET = "swordfish"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("given", ["mine", "a.b:c-d_1", "x" * 128])
async def test_a_sane_request_id_is_given_back(given: str, shapes: Gateway) -> None:
    assert (await shapes.http.get("/v1/models", headers={"X-Request-Id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a/b", "<script>", "é".encode("latin-1")])
async def test_another_request_id_is_replaced(given: str | bytes, shapes: Gateway) -> None:
    answer = await shapes.http.get("/v1/models", headers=[(b"X-Request-Id", given)])
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 16


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/nothing", "/v1/detect", "/docs", "/metrics"])
async def test_every_answer_has_a_request_id(path: str, shapes: Gateway) -> None:
    assert (await shapes.http.get(path)).headers["x-request-id"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, ""),
        ("", ""),
        (TRACE, TRACE),
        (TRACE.upper(), ""),
        (TRACE[:-1], ""),
        (TRACE + "-more", ""),
        (TRACE.replace("00-", "ff-", 1), ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", ""),
    ],
)
def test_a_valid_traceparent_is_taken(given: str | None, taken: str) -> None:
    assert traceparent_from(given) == taken


async def test_the_traceparent_and_the_request_id_reach_the_model(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with serve(fake) as gateway:
        await gateway.http.post("/v1/detect", content=png, headers={"traceparent": TRACE, "X-Request-Id": "mine"})
    assert [(call.traceparent, call.request_id) for call in fake.calls] == [(TRACE, "mine")]


async def test_a_log_line_tells_what_was_asked_and_nothing_that_the_caller_wrote(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    async with serve(fake_of()) as gateway:
        await gateway.http.post(
            f"/v1/models/echo/detect?confidence=0.5&api_key={SECRET}", content=png, headers={"X-API-Key": SECRET}
        )
        await gateway.http.post("/v1/models/echo/detect?confidence=0.5", content=png, headers={"X-Request-Id": "mine"})
        await gateway.http.get(f"/{SECRET}?{SECRET}")
        await gateway.http.get(f"/v1/models/{SECRET}")
    took = gateway.requests()[1].pop("took_ms")
    assert 0 < took < 30_000
    assert gateway.requests()[1] == {
        "event": "request",
        "method": "POST",
        "route": "/v1/models/{model}/detect",
        "status": 200,
        "request_id": "mine",
        "client": "anonymous",
        "model": "echo",
        "version": 1,
        "images": 1,
        "bytes": len(png),
    }
    assert [line["route"] for line in gateway.requests()[2:]] == ["none", "/v1/models/{model}"]
    assert [line.get("code") for line in gateway.requests()] == ["invalid-options", None, "not-found", "unknown-model"]
    assert SECRET not in str(gateway.lines)


async def test_probes_leave_no_line(serve: Serve, fake_of: Fakes) -> None:
    async with serve(fake_of()) as gateway:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await gateway.http.get(path)).status_code == 200
    assert gateway.lines == []


async def test_a_bug_is_told_to_the_log_alone(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    def break_down(call: Call) -> Candidates:
        raise ZeroDivisionError(SECRET)

    fake = fake_of()
    async with serve(fake) as gateway:
        working, fake.script = fake.script, break_down
        broken = await gateway.http.post("/v1/detect", content=png)
        fake.script = working
        good = await gateway.http.post("/v1/detect", content=png)
    assert (broken.status_code, broken.headers["content-type"]) == (500, "application/problem+json")
    assert broken.json()["code"] == "internal"
    assert broken.json()["request_id"] == broken.headers["x-request-id"]
    assert SECRET not in broken.text
    assert good.status_code == 200
    assert [(line["event"], line["request_id"]) for line in gateway.lines[:1]] == [("bug", broken.json()["request_id"])]
    assert gateway.lines[0]["exc_info"]


async def test_a_page_that_may_call_can_read_that_there_was_a_bug(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    def break_down(call: Call) -> Candidates:
        raise ZeroDivisionError(SECRET)

    page, stranger = "https://shop.example", "https://evil.example"
    fake = fake_of()
    async with serve(fake, origins=[page]) as gateway:
        fake.script = break_down
        told = await gateway.http.post("/v1/detect", content=png, headers={"Origin": page})
        untold = await gateway.http.post("/v1/detect", content=png, headers={"Origin": stranger})
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (500, page)
    assert "X-Request-Id" in told.headers["access-control-expose-headers"]
    assert (untold.status_code, "access-control-allow-origin" in untold.headers) == (500, False)
    assert [line["status"] for line in gateway.requests()] == [500, 500]
    assert {line["code"] for line in gateway.requests()} == {"internal"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/v1/detect", "POST"), ("PUT", "/v1/models/shapes/detect", "POST"), ("POST", "/v1/models", "GET")],
)
async def test_a_method_that_is_not_taken_is_told_which_is(method: str, path: str, allow: str, shapes: Gateway) -> None:
    answer = await shapes.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.json()["detail"] == f"this path takes {allow} alone; use that."
    options = await shapes.http.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/detect/", "/v1/models/shapes/versions/1", "//v1/detect", "/%00"]
)
async def test_a_path_with_nothing_at_it_is_a_problem(path: str, shapes: Gateway) -> None:
    answer = await shapes.http.request("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/shapes", "/healthz", "/readyz", "/docs", "/openapi.json", "/none"]
)
async def test_head_is_get_without_a_body(path: str, shapes: Gateway) -> None:
    get, head = await shapes.http.get(path), await shapes.http.head(path)
    assert head.status_code == get.status_code
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.content == b""


async def test_a_caller_that_goes_away_is_worked_for_no_longer(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    fake = fake_of(latency_s={})
    async with serve(fake, patience=Patience(request_s=60)) as gateway:
        fake.latency_s = {"echo": 50.0}
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(png), png))
        await until(lambda: len(fake.calls) == 1)
        assert gateway.service.detector.admission.in_flight == 1
        writer.close()
        await until(lambda: gateway.service.detector.admission.in_flight == 0)
        await until(lambda: bool(gateway.requests()))
        assert gateway.service.requests.in_flight == 0
        text = (await gateway.admin.get("/metrics")).text
    assert (gateway.requests()[0]["status"], gateway.requests()[0]["code"]) == (499, "caller-gone")
    assert 'status="499"' in text


async def test_callers_that_go_away_about_when_they_are_answered_do_no_harm(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    fake, many = fake_of(), 40
    async with serve(fake) as gateway:
        fake.latency_s = {"echo": 2 * AWHILE_S}

        async def leave_after(wait_s: float) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(png), png))
            await asyncio.sleep(wait_s)
            writer.transport.abort()

        await asyncio.gather(*[leave_after(4 * AWHILE_S * number / many) for number in range(many)])
        await until(lambda: gateway.service.requests.in_flight == 0)
        fake.latency_s = {}
        assert (await gateway.http.post("/v1/detect", content=png)).status_code == 200
        service = gateway.service
        assert (service.detector.admission.in_flight, service.scales.held_bytes) == (0, 0)
    assert {line["event"] for line in gateway.lines} == {"request"}
    assert {line["status"] for line in gateway.requests()} <= {200, 499}


async def test_a_body_that_never_ends_is_not_waited_for(serve: Serve, fake_of: Fakes) -> None:
    async with serve(fake_of(), patience=Patience(body_s=0.3)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nGIF89a")
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"}")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"slow-body"' in answer
