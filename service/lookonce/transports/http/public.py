"""The HTTP port that callers see, put together from its routes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute, WebSocketRoute

from lookonce.transports.http.admin import metrics, probes
from lookonce.transports.http.documents import Documented
from lookonce.transports.http.edge import Edge, Mishaps
from lookonce.transports.http.lingering import Lingering
from lookonce.transports.http.loopback import KnownPages
from lookonce.transports.http.manual import manual
from lookonce.transports.http.problems import refuse_stream
from lookonce.transports.http.watching import watch
from lookonce.transports.service import Service
from lookonce.transports.weighing import Weighing


@dataclass(frozen=True, slots=True)
class Shown:
    """What the public port shows beside the API, and to whose pages."""

    metrics: bool = False
    access_log: bool = True
    origins: Collection[str] = ()
    loopback: bool = False


def public_app(
    service: Service,
    routers: Sequence[APIRouter],
    routes: Sequence[BaseRoute],
    *,
    registry: CollectorRegistry,
    shown: Shown = Shown(),
) -> FastAPI:
    """`routers` hold the API, `routes` what else stands on the port: streams and pages."""
    app = Documented(openapi_url=None)
    for router in (*routers, probes(service), manual(app), *([metrics(registry)] if shown.metrics else [])):
        app.router.routes.extend(router.routes)
    app.router.routes.extend([*routes, WebSocketRoute("/{path:path}", refuse_stream)])
    app.add_middleware(Weighing, scales=service.scales)
    app.add_middleware(Mishaps, log=service.log)
    app.add_middleware(KnownPages, origins=shown.origins, loopback=shown.loopback)
    app.add_middleware(Edge, log=service.log, tells=shown.access_log)
    watch(app, registry)
    app.add_middleware(Lingering)
    return app
