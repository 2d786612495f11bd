"""The composition root: the only place where the parts meet. Call it inside the loop that will serve."""

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp
from structlog.stdlib import BoundLogger

from lookonce.access.gate import Gate, OpenGate
from lookonce.access.keyring import Keyring
from lookonce.errors import SettingsRefused
from lookonce.inference.port import Inference
from lookonce.inference.shared import Canvases, sweep
from lookonce.inference.spread import inference_for
from lookonce.logs import logger
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.stages import Bounds
from lookonce.pipeline.workers import Workers
from lookonce.settings import Settings, Tls, is_loopback
from lookonce.transports.compat import deepstack, huggingface, roboflow
from lookonce.transports.http import page, rest
from lookonce.transports.http.admin import admin_app
from lookonce.transports.http.public import Shown, public_app
from lookonce.transports.posted.bodies import Reading
from lookonce.transports.posted.fetching import Fetcher
from lookonce.transports.rpc.server import Pem, grpc_server
from lookonce.transports.service import Patience, Service
from lookonce.transports.weighing import Scales
from lookonce.transports.ws import stream

Keeper = Callable[[], Coroutine[Any, Any, None]]
GOODBYE_S: Final = 1.0
"""Until whoever still hangs on is cut off, when all that was in flight has had its grace time."""

API: Final = rest, deepstack, huggingface, roboflow


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts, put together. `keepers` run beside them for as long as it serves."""

    settings: Settings
    service: Service
    public: ASGIApp
    admin: ASGIApp
    keepers: tuple[Keeper, ...]
    tls: ssl.SSLContext | None
    pem: Pem | None

    @asynccontextmanager
    async def rpc(self) -> AsyncIterator[int]:
        """The port on which gRPC is served; on the way out callers are told to go, and what is in flight ends."""
        where, tells = self.settings.server, self.settings.logs.access
        server, port = grpc_server(self.service, host=where.host, port=where.grpc_port, tls=self.pem, tells=tells)
        await server.start()
        try:
            yield port
        finally:
            await server.stop(GOODBYE_S)

    async def close(self) -> None:
        await self.service.detector.close()


def build(settings: Settings, inference: Inference | None = None) -> Gateway:
    log = logger(settings.logs.level, settings.logs.format)
    pem, tls = pem_of(settings.tls), context_of(settings.tls)
    gate, gate_keepers = _gate(settings, log)
    detector = detector_of(settings, inference or _inference(settings, log), log)
    service = _service(settings, detector, gate, log)
    reading = Reading(detector.bounds, settings.timeouts.body_s, _fetcher(settings))
    routers = [api.router(service, reading) for api in API]
    registry = CollectorRegistry()
    public = public_app(
        service,
        routers,
        [*stream.routes(service, tells=settings.logs.access), page.route()],
        registry=registry,
        shown=_shown(settings),
    )
    look_again = partial(detector.catalogue.keep, settings.models.refresh_s)
    return Gateway(settings, service, public, admin_app(service, registry), (look_again, *gate_keepers), tls, pem)


def _inference(settings: Settings, log: BoundLogger) -> Inference:
    sweep()
    shares = settings.triton.transport == "shared-memory"
    canvases = Canvases(settings.limits.max_in_flight, lambda event, facts: log.info(event, **facts))
    return inference_for(settings.triton.url, canvases if shares else None)


def detector_of(settings: Settings, inference: Inference, log: BoundLogger) -> Detector:
    limits, models = settings.limits, settings.models
    return Detector(
        inference,
        Catalogue(inference, models.default, models.names, lambda event, facts: log.info(event, **facts)),
        Admission(limits.max_in_flight),
        Workers(limits.threads),
        Bounds(
            limits.max_bytes,
            limits.max_pixels,
            min(limits.max_images, limits.max_in_flight),
            scaled=settings.decoding.scaled,
        ),
    )


def _service(settings: Settings, detector: Detector, gate: Gate, log: BoundLogger) -> Service:
    limits, times = settings.limits, settings.timeouts
    return Service(
        detector,
        gate,
        log,
        Patience(times.request_s, times.max_request_s, times.body_s, times.idle_s),
        requests=Admission(limits.max_requests, "requests"),
        streams=Admission(limits.max_streams, "streams"),
        scales=Scales(limits.max_body_bytes),
    )


def _gate(settings: Settings, log: BoundLogger) -> tuple[Gate, tuple[Keeper, ...]]:
    if settings.keys.file is None:
        return OpenGate(), ()
    keyring = Keyring(settings.keys.file, lambda event, facts: log.warning(event, **facts))
    return keyring, (keyring.keep,)


def _fetcher(settings: Settings) -> Fetcher | None:
    urls = settings.urls
    return Fetcher(urls.hosts, urls.timeout_s, settings.limits.max_bytes) if urls.hosts else None


def _shown(settings: Settings) -> Shown:
    server, loopback = settings.server, is_loopback(settings.server.host)
    metrics = loopback if server.public_metrics is None else server.public_metrics
    return Shown(metrics, settings.logs.access, server.origins, loopback)


def pem_of(tls: Tls) -> Pem | None:
    if tls.certificate is None or tls.key is None:
        return None
    return Pem(_read(tls.certificate), _read(tls.key))


def context_of(tls: Tls) -> ssl.SSLContext | None:
    if tls.certificate is None or tls.key is None:
        return None

    def no_pass_phrase() -> str:
        """Else OpenSSL would ask the terminal for one, and wait."""
        raise SettingsRefused(
            f"the key {tls.key} is encrypted and nobody is here to be asked for its pass phrase; "
            "write it without one (`openssl pkey -in KEY -out PLAIN`) and name that in LOOKONCE_TLS__KEY."
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, no_pass_phrase)
    except (OSError, ssl.SSLError) as error:
        raise SettingsRefused(
            f"the certificate {tls.certificate} and the key {tls.key} do not go together ({error}); make them anew."
        ) from error
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsRefused(
            f"{path} cannot be read ({error.strerror}); correct LOOKONCE_TLS__… or the file."
        ) from error
