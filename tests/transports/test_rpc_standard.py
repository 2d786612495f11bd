"""Health and reflection, asked by the standard's own clients."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from tests.transports.calling import Gateway, failure_of, gateway

from lookonce.inference.fake import Fake
from lookonce.transports.service import Patience

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
ECHO = ServerReflectionRequest(file_containing_symbol="lookonce.v1.Detection")


@pytest.fixture
async def running(fake_of: Callable[..., Fake]) -> AsyncIterator[Gateway]:
    async with gateway(fake_of(), patience=Patience(idle_s=1.5)) as running:
        yield running


@pytest.mark.parametrize("name", ["", "lookonce.v1.Detection"])
async def test_health_is_that_of_the_gateway(running: Gateway, name: str) -> None:
    health, asked = HealthStub(running.channel), HealthCheckRequest(service=name)
    assert (await health.Check(asked)).status == SERVING
    running.service.life.leaving.set()
    assert (await health.Check(asked)).status == NOT_SERVING


async def test_health_of_what_is_not_here_is_not_found(running: Gateway) -> None:
    asked = HealthCheckRequest(service="lookonce.v1.Nothing")
    assert (await failure_of(HealthStub(running.channel).Check(asked))).code() is grpc.StatusCode.NOT_FOUND
    watching = HealthStub(running.channel).Watch(asked)
    assert (await watching.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


async def test_who_watches_is_told_of_every_change(fake_of: Callable[..., Fake]) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        watching = HealthStub(running.channel).Watch(HealthCheckRequest())
        assert (await watching.read()).status == SERVING
        fake.is_closed = True
        await running.service.detector.catalogue.refresh()
        assert (await watching.read()).status == NOT_SERVING
        fake.is_closed = False
        await running.service.detector.catalogue.refresh()
        assert (await watching.read()).status == SERVING
        running.service.life.leaving.set()
        assert (await watching.read()).status == NOT_SERVING
        running.service.life.draining.set()
        assert (await failure_of(watching)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_probe_leaves_no_line_in_the_log(running: Gateway) -> None:
    await HealthStub(running.channel).Check(HealthCheckRequest())
    assert running.lines == []


async def test_reflection_lists_the_services(running: Gateway) -> None:
    answer = await _reflected(running, ServerReflectionRequest(list_services=""))
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "lookonce.v1.Detection",
    ]


@pytest.mark.parametrize("asked", [ECHO, ServerReflectionRequest(file_by_filename="lookonce/v1/detection.proto")])
async def test_reflection_resolves_our_file_and_what_it_imports(
    running: Gateway, asked: ServerReflectionRequest
) -> None:
    answer = await _reflected(running, asked)
    files = map(descriptor_pb2.FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    services = {file.name: [service.name for service in file.service] for file in files}
    assert services == {"lookonce/v1/detection.proto": ["Detection"], "google/protobuf/timestamp.proto": []}


async def test_reflection_of_what_is_not_here_is_not_found(running: Gateway) -> None:
    answer = await _reflected(running, ServerReflectionRequest(file_containing_symbol="lookonce.v1.Nothing"))
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_both_versions_of_reflection_answer_the_same(running: Gateway) -> None:
    call = running.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )(iter([ECHO]))
    assert [answer async for answer in call] == [await _reflected(running, ECHO)]


async def test_reflection_that_nobody_uses_is_closed(running: Gateway) -> None:
    async with asyncio.timeout(10):
        error = await failure_of(ServerReflectionStub(running.channel).ServerReflectionInfo())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def _reflected(running: Gateway, asked: ServerReflectionRequest) -> ServerReflectionResponse:
    call = ServerReflectionStub(running.channel).ServerReflectionInfo(iter([asked]))
    (answer,) = [answer async for answer in call]
    return answer
