"""Probes and metrics, on the port that stays inside."""

import re

import pytest
from tests.transports.gateways import Fakes, Gateway, Serve

from lookonce.errors import BackendUnavailable


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_the_admin_port_answers_probes_and_metrics(path: str, shapes: Gateway) -> None:
    assert (await shapes.admin.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/detect", "/docs", "/openapi.json", "/"])
async def test_the_admin_port_answers_nothing_else(path: str, shapes: Gateway) -> None:
    assert (await shapes.admin.get(path)).status_code == 404


async def test_readiness_follows_what_is_behind_and_says_why_not(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with serve(fake) as gateway:
        ready = await gateway.admin.get("/readyz")
        fake.is_closed = True
        await gateway.service.detector.catalogue.refresh()
        not_ready = [await gateway.admin.get("/readyz"), await gateway.http.get("/readyz")]
        alive = await gateway.admin.get("/healthz")
        fake.is_closed = False
        await gateway.service.detector.catalogue.refresh()
        again = await gateway.admin.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": {}})
    for each in not_ready:
        assert (each.status_code, each.json()["status"]) == (503, "not-ready")
        assert each.json()["reasons"] == {"triton": "the connection was closed."}
    assert (alive.status_code, again.status_code) == (200, 200)


async def test_with_nothing_behind_it_a_gateway_starts_and_says_so_at_once(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    fake = fake_of(is_closed=True)
    async with serve(fake) as gateway:
        refused = await gateway.http.post("/v1/detect", content=png)
        listed = await gateway.http.get("/v1/models")
        fake.is_closed = False
        await gateway.service.detector.catalogue.refresh()
        answered = await gateway.http.post("/v1/detect", content=png)
    assert (refused.status_code, refused.json()["code"]) == (503, BackendUnavailable.code)
    assert refused.headers["retry-after"] == "1"
    assert listed.json() == {"default": None, "models": []}
    assert answered.status_code == 200


async def test_metrics_count_by_route_and_status_and_never_by_what_a_caller_wrote(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    async with serve(fake_of()) as gateway:
        for _ in range(3):
            await gateway.http.post("/v1/models/echo/detect?confidence=0.5", content=png)
        await gateway.http.post("/v1/models/swordfish/detect", content=png)
        for path in ("/swordfish", "/v1/swordfish", "/healthz", "/v1/detect?swordfish"):
            await gateway.http.get(path)
        text = (await gateway.admin.get("/metrics")).text
    counted = dict(re.findall(r"^http_requests_total\{(.*)\} (\S+)$", text, re.MULTILINE))
    assert counted == {
        'handler="/v1/models/{model}/detect",method="POST",status="200"': "3.0",
        'handler="/v1/models/{model}/detect",method="POST",status="404"': "1.0",
        'handler="none",method="GET",status="404"': "2.0",
        'handler="/v1/detect",method="GET",status="405"': "1.0",
    }
    assert "swordfish" not in text


async def test_metrics_stay_off_the_public_port_unless_wanted_there(serve: Serve, fake_of: Fakes) -> None:
    async with serve(fake_of(), public_metrics=False) as gateway:
        assert (await gateway.http.get("/metrics")).status_code == 404
        assert (await gateway.admin.get("/metrics")).status_code == 200
