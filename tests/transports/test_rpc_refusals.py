"""How calls fail: every error by its code, keys, and room."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tests.transports.calling import Gateway, failure_of, frame, gateway, trailer_of

from lookonce.access.keyring import Keyring
from lookonce.access.keys import hash_of, new_key
from lookonce.errors import ServiceError, TryLater
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, Candidates
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.status import BUG, STATUSES, status_of

FakeOf = Callable[..., Fake]
KEY, OTHER = new_key(), new_key()


def leaves(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    below = kind.__subclasses__()
    return (leaf for each in below for leaf in leaves(each)) if below else iter([kind])


@pytest.mark.parametrize("kind", list(leaves(ServiceError)))
async def test_every_error_has_its_status_its_code_and_its_words(
    fake_of: FakeOf, png: bytes, kind: type[ServiceError]
) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.failures = iter([kind("it was 4×3 px; do otherwise.")])
        error = await failure_of(running.stub.Detect(wire.DetectRequest(images=[png])))
    trailer = trailer_of(error)
    assert error.code() is status_of(kind("")).grpc
    assert error.details() == "it was 4×3 px; do otherwise."
    assert trailer["lookonce-code"] == kind.code
    assert trailer["lookonce-request-id"]
    assert ("retry-after-ms" in trailer) is issubclass(kind, TryLater)


def test_no_status_of_the_table_is_a_success() -> None:
    assert grpc.StatusCode.OK not in {status.grpc for status in STATUSES.values()}


async def test_a_bug_is_told_to_the_log_alone(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()

    def broken(call: Call) -> Candidates:
        raise RuntimeError("secret")

    async with gateway(fake) as running:
        fake.script = broken
        error = await failure_of(running.stub.Detect(wire.DetectRequest(images=[png])))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == BUG
    assert trailer_of(error)["lookonce-code"] == "internal"
    bug, call = running.lines
    assert (bug["event"], bug["exc_info"], call["status"]) == ("bug", True, "INTERNAL")
    assert bug["request_id"] == call["request_id"] == trailer_of(error)["lookonce-request-id"]


async def test_callers_above_the_limit_are_refused_at_once_and_health_still_answers(
    fake_of: FakeOf, png: bytes
) -> None:
    fake = fake_of()
    async with gateway(fake, in_flight=2, requests=3) as running:
        fake.latency_s = {"echo": 0.2}
        calls = [running.stub.Detect(wire.DetectRequest(images=[png])) for _ in range(16)]
        health = running.channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await health(b"") == b"\x08\x01"
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert 0 < len(refused) < 16
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(int(trailer_of(error)["retry-after-ms"]) > 0 for error in refused)
    assert len(fake.calls) == 16 - len(refused)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def write_keys(file: Path, **clients: dict[str, object]) -> None:
    file.write_text(json.dumps({"clients": [{"name": name, **client} for name, client in clients.items()]}))
    file.chmod(0o600)


@pytest.fixture
async def guarded(fake_of: FakeOf, key_file: Path) -> AsyncIterator[Gateway]:
    one = {"keys": [hash_of(KEY)], "concurrency": 1, "images_per_s": 0.001, "burst": 2, "models": ["echo"]}
    write_keys(key_file, one=one, other={"keys": [hash_of(OTHER)], "models": ["other"]})
    async with gateway(fake_of("echo", "other"), gate=Keyring(key_file, lambda _event, _facts: None)) as running:
        yield running


def bearing(key: str) -> dict[str, object]:
    return {"metadata": [("authorization", f"Bearer {key}")]}


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Bearer lo_wrong")],
        [("authorization", "Basic abc")],
        [("x-api-key", "")],
    ],
)
async def test_who_has_no_good_key_is_kept_out_of_everything_but_health(
    guarded: Gateway, png: bytes, metadata: list[tuple[str, str]]
) -> None:
    asked = wire.DetectRequest(images=[png], model="echo")
    calls = (
        guarded.stub.Detect(asked, metadata=metadata),
        guarded.stub.ListModels(wire.ListModelsRequest(), metadata=metadata),
        guarded.stub.DetectStream(metadata=metadata),
        guarded.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(metadata=metadata),
    )
    for call in calls:
        assert (await failure_of(call)).code() is grpc.StatusCode.UNAUTHENTICATED
    assert await guarded.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", metadata=metadata) == b"\x08\x01"


async def test_two_keys_that_differ_are_refused_as_neither(guarded: Gateway, png: bytes) -> None:
    two = [("x-api-key", KEY), ("authorization", f"Bearer {OTHER}")]
    error = await failure_of(guarded.stub.Detect(wire.DetectRequest(images=[png], model="echo"), metadata=two))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details() == "the request carries two keys that differ; send one."


async def test_a_good_key_is_let_in_under_either_name_and_never_logged(guarded: Gateway, png: bytes) -> None:
    asked = wire.DetectRequest(images=[png], model="echo")
    for metadata in [("authorization", f"Bearer {KEY}")], [("x-api-key", KEY)]:
        assert (await guarded.stub.Detect(asked, metadata=metadata)).results
    assert {line["client"] for line in guarded.lines} == {"one"}
    assert KEY not in str(guarded.lines)


async def test_a_key_opens_its_own_models_alone(guarded: Gateway, png: bytes) -> None:
    asked = wire.DetectRequest(images=[png], model="other")
    assert (await failure_of(guarded.stub.Detect(asked, **bearing(KEY)))).code() is grpc.StatusCode.PERMISSION_DENIED
    stream = guarded.stub.DetectStream(**bearing(KEY))
    await stream.write(wire.DetectStreamRequest(setup=wire.StreamSetup(model="other")))
    assert (await failure_of(stream)).code() is grpc.StatusCode.PERMISSION_DENIED
    listed = await guarded.stub.ListModels(wire.ListModelsRequest(), **bearing(OTHER))
    assert [model.name for model in listed.models] == ["other"]


async def test_rates_hold_for_calls_and_streams_together(guarded: Gateway, png: bytes) -> None:
    asked = wire.DetectRequest(images=[png, png], model="echo")
    assert (await guarded.stub.Detect(asked, **bearing(KEY))).results
    error = await failure_of(guarded.stub.Detect(asked, **bearing(KEY)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailer_of(error)["lookonce-code"] == "rate-limited"
    stream = guarded.stub.DetectStream(**bearing(KEY))
    await stream.write(wire.DetectStreamRequest(setup=wire.StreamSetup(model="echo"), frame=frame(png, 0).frame))
    assert (await stream.read()).result.error.code == "rate-limited"
    error = await failure_of(guarded.stub.Detect(asked, **bearing(KEY)))
    assert trailer_of(error)["lookonce-code"] == "rate-limited"
    stream.cancel()


async def test_a_key_that_is_revoked_ends_its_open_stream(guarded: Gateway, key_file: Path, png: bytes) -> None:
    stream = guarded.stub.DetectStream(**bearing(KEY))
    await stream.write(wire.DetectStreamRequest(setup=wire.StreamSetup(model="echo"), frame=frame(png, 0).frame))
    assert (await stream.read()).result.error.code == ""
    write_keys(key_file, other={"keys": [hash_of(OTHER)]})
    await guarded.service.gate.refresh()
    await stream.write(frame(png, 1))
    assert (await failure_of(stream)).code() is grpc.StatusCode.UNAUTHENTICATED
