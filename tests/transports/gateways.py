"""A gateway on real ports of this machine, over any inference server, with a log that can be read."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType

import httpx
import structlog
from prometheus_client import CollectorRegistry

from lookonce.access.gate import Gate, OpenGate
from lookonce.doors import Address, door, opened
from lookonce.inference.fake import Fake
from lookonce.inference.port import Inference
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.stages import Bounds
from lookonce.pipeline.workers import Workers
from lookonce.transports.http import rest
from lookonce.transports.http.admin import admin_app
from lookonce.transports.http.public import Shown, public_app
from lookonce.transports.posted.bodies import Reading
from lookonce.transports.posted.fetching import Fetcher
from lookonce.transports.service import Patience, Service
from lookonce.transports.weighing import Scales

BOUNDS = Bounds(max_bytes=2**20, max_pixels=1_000_000, max_images=4)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs: `http` asks its public port and `admin` the other one; `lines` is its log."""

    service: Service
    port: int
    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    lines: list[dict[str, object]]

    def requests(self) -> list[dict[str, object]]:
        """The access log."""
        return [line for line in self.lines if line["event"] == "request"]


@dataclass(slots=True)
class Plan:
    """What a gateway is made of. `catalogue_default`, limits and gate as the settings would have them."""

    inference: Inference
    bounds: Bounds = BOUNDS
    max_in_flight: int = 64
    max_requests: int = 512
    gate: Gate = field(default_factory=OpenGate)
    patience: Patience = field(default_factory=Patience)
    default: str | None = None
    public_metrics: bool = True
    apis: Sequence[ModuleType] = (rest,)
    fetcher: Fetcher | None = None
    scales: Scales = field(default_factory=Scales)
    origins: Sequence[str] = ()


Serve = Callable[..., AbstractAsyncContextManager[Gateway]]
Fakes = Callable[..., Fake]


@asynccontextmanager
async def served(plan: Plan) -> AsyncIterator[Gateway]:
    lines: list[dict[str, object]] = []
    catalogue = Catalogue(plan.inference, plan.default)
    detector = Detector(plan.inference, catalogue, Admission(plan.max_in_flight), Workers(2), plan.bounds)
    requests = Admission(plan.max_requests, "requests")
    service = Service(detector, plan.gate, logging_to(lines), plan.patience, requests=requests, scales=plan.scales)
    await catalogue.refresh()
    if isinstance(plan.inference, Fake):
        plan.inference.calls.clear()
    registry = CollectorRegistry()
    reading = Reading(plan.bounds, plan.patience.body_s, plan.fetcher)
    routers = [api.router(service, reading) for api in plan.apis]
    shown = Shown(metrics=plan.public_metrics, origins=plan.origins)
    app = public_app(service, routers, (), registry=registry, shown=shown)
    async with (
        opened(door(app, max_frame_bytes=2**20, grace_s=5), Address("127.0.0.1", 0, "")) as port,
        opened(door(admin_app(service, registry), max_frame_bytes=1, grace_s=5), Address("127.0.0.1", 0, "")) as admin,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin}", timeout=30, trust_env=False) as admin_http,
    ):
        yield Gateway(service, port, http, admin_http, lines)
    await detector.close()


def logging_to(lines: list[dict[str, object]]) -> structlog.stdlib.BoundLogger:
    def keep(_logger: object, _method: str, line: Mapping[str, object]) -> Mapping[str, object]:
        lines.append(dict(line))
        raise structlog.DropEvent

    log: structlog.stdlib.BoundLogger = structlog.wrap_logger(None, processors=[keep])
    return log
