"""Probes and metrics: an HTTP port of their own, which stays inside the cluster; the public one answers probes too."""

from typing import Final

import orjson
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from lookonce.transports.http.bare import Bare
from lookonce.transports.http.documents import LIVE, READY
from lookonce.transports.service import Service

JSON: Final = "application/json"


def admin_app(service: Service, registry: CollectorRegistry) -> Starlette:
    return Starlette(routes=[*probes(service).routes, *metrics(registry).routes])


def probes(service: Service) -> APIRouter:
    routes = APIRouter(route_class=Bare)

    async def live(_request: Request) -> Response:
        """Whether the process is alive; it is, whatever its models do."""
        return Response(b'{"status":"live"}', media_type=JSON)

    async def ready(_request: Request) -> Response:
        """Whether requests may be sent here, and if not, why."""
        reasons = dict(service.reasons)
        body = {"status": "not-ready" if reasons else "ready", "reasons": reasons}
        return Response(orjson.dumps(body), 503 if reasons else 200, media_type=JSON)

    routes.add_api_route("/healthz", live, operation_id="healthz", **LIVE)
    routes.add_api_route("/readyz", ready, operation_id="readyz", **READY)
    return routes


def metrics(registry: CollectorRegistry) -> APIRouter:
    routes = APIRouter(route_class=Bare)

    async def tell(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    routes.add_api_route("/metrics", tell, include_in_schema=False)
    return routes
