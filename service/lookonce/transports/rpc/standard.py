"""The standard services beside our own: health (`grpc.health.v1`) and reflection.

Health is open to everybody and answers whatever else is going on, for probes have no key. Reflection asks for a key
where detection does. Its `v1` and its `v1alpha` differ in their name alone.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final, TypeAlias

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from lookonce.access.gate import OpenGate
from lookonce.errors import NotServed
from lookonce.pipeline.admission import Admission
from lookonce.transports.rpc.calls import Calls, Handler, Visit
from lookonce.transports.service import Service

HEALTH: Final[str] = health.SERVICE_NAME
REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
MOST_PROBES: Final = 256
LOOK_EVERY_S: Final = 0.25
Probe: TypeAlias = Visit[HealthCheckRequest, HealthCheckResponse]
Reflecting: TypeAlias = Visit[ServerReflectionRequest, ServerReflectionResponse]


def health_handlers(service: Service, names: tuple[str, ...]) -> dict[str, Handler]:
    """Of the gateway as a whole, which has the empty name, and of the services called `names`, which are as it is."""
    known = frozenset({"", *names})

    async def check(visit: Probe) -> HealthCheckResponse:
        asked = await visit.only()
        if asked.service not in known:
            raise NotServed(f"there is no service {asked.service[:100]} here; ask for {names[0]}, or for none.")
        return HealthCheckResponse(status=_status_of(service))

    async def watch(visit: Probe) -> AsyncGenerator[HealthCheckResponse, None]:
        asked, told = await visit.only(), HealthCheckResponse.UNKNOWN
        while True:
            status = _status_of(service) if asked.service in known else HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                yield HealthCheckResponse(status=status)
            told = status
            service.life.refuse_when_draining()
            with suppress(TimeoutError):
                await asyncio.wait_for(service.life.draining.wait(), LOOK_EVERY_S)

    calls = Calls(service, OpenGate(), Admission(MOST_PROBES, "health probes"), tells=False, to_the_end=True)
    return {
        "Check": calls.unary("Check", HealthCheckRequest, check),
        "Watch": calls.stream("Watch", HealthCheckRequest, watch),
    }


def reflection_handlers(service: Service, names: tuple[str, ...], *, tells: bool) -> dict[str, Handler]:
    servicer = reflection.aio.ReflectionServicer((*names, HEALTH, *REFLECTION))  # type: ignore[attr-defined]

    async def reflect(visit: Reflecting) -> AsyncGenerator[ServerReflectionResponse, None]:
        async for answer in servicer.ServerReflectionInfo(_messages(visit), visit.context):
            yield answer

    calls = Calls(service, service.gate, service.streams, tells)
    return {"ServerReflectionInfo": calls.stream("ServerReflectionInfo", ServerReflectionRequest, reflect)}


async def _messages(visit: Reflecting) -> AsyncIterator[ServerReflectionRequest]:
    while (message := await visit.next()) is not None:
        yield message


def _status_of(service: Service) -> "HealthCheckResponse.ServingStatus":
    return HealthCheckResponse.NOT_SERVING if service.reasons else HealthCheckResponse.SERVING
