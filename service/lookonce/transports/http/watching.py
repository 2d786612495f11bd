"""HTTP requests counted and timed, by route template and never by what a caller wrote."""

from collections.abc import Callable
from functools import cache
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import Info

from lookonce.transports.http.edge import QUIET

BUCKETS_S: Final = 0.005, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10


def watch(app: FastAPI, registry: CollectorRegistry) -> None:
    quiet = [f"^({'|'.join(sorted(QUIET))})$"]
    watching = Instrumentator(should_group_status_codes=False, excluded_handlers=quiet, registry=registry)
    watching.add(_counted(registry)).instrument(app)


def _counted(registry: CollectorRegistry) -> Callable[[Info], None]:
    requests = Counter("http_requests_total", "HTTP requests.", ["handler", "method", "status"], registry=registry)
    seconds = Histogram(
        "http_request_duration_seconds",
        "How long HTTP requests took, their bodies included.",
        ["handler", "method"],
        buckets=BUCKETS_S,
        registry=registry,
    )

    @cache
    def meters(handler: str, method: str, status: str) -> tuple[Counter, Histogram]:
        """Of one kind of request; there are as many as routes, methods and statuses."""
        return requests.labels(handler, method, status), seconds.labels(handler, method)

    def count(info: Info) -> None:
        counted, timed = meters(info.modified_handler, info.method, info.modified_status)
        counted.inc()
        timed.observe(info.modified_duration)

    return count
