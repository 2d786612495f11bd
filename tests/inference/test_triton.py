"""The Triton adapter against a server on loopback that speaks the protocol and answers whatever it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from lookonce.card import RawHead, Tensor, cards_to_parameters
from lookonce.errors import BackendContractBroken, BackendUnavailable, DeadlineExceeded, Overloaded, ServiceError
from lookonce.inference.port import Call
from lookonce.inference.triton import CHANNEL_OPTIONS, Triton

CallOf = Callable[..., Call]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


def answer_of(rows: np.ndarray, name: str = "candidates", datatype: str = "FP32") -> wire.ModelInferResponse:
    answer = wire.ModelInferResponse(raw_output_contents=[rows.tobytes()])
    answer.outputs.add(name=name, datatype=datatype, shape=rows.shape)
    return answer


def altered(change: Callable[[wire.ModelInferResponse], object]) -> wire.ModelInferResponse:
    answer = answer_of(np.zeros((1, 5, 6), np.float32))
    change(answer)
    return answer


@dataclass
class Impostor(GRPCInferenceServiceServicer):
    """Not a Triton. `refuses` is what it fails with, `answer` what it says otherwise."""

    answer: wire.ModelInferResponse = field(default_factory=lambda: answer_of(np.zeros((1, 5, 6), np.float32)))
    config: wire.ModelConfigResponse = field(default_factory=wire.ModelConfigResponse)
    refuses: tuple[grpc.StatusCode, str] | None = None
    asked: list[tuple[wire.ModelInferRequest, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    async def ModelInfer(  # noqa: N802
        self, request: wire.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> wire.ModelInferResponse:
        self.asked.append((request, dict(context.invocation_metadata() or ())))
        if self.refuses is not None:
            await context.abort(*self.refuses)
        return self.answer

    async def RepositoryIndex(  # noqa: N802
        self, _request: wire.RepositoryIndexRequest, context: grpc.aio.ServicerContext
    ) -> wire.RepositoryIndexResponse:
        if self.refuses is not None:
            await context.abort(*self.refuses)
        return wire.RepositoryIndexResponse()

    async def ModelConfig(  # noqa: N802
        self, _request: wire.ModelConfigRequest, _context: grpc.aio.ServicerContext
    ) -> wire.ModelConfigResponse:
        return self.config


@asynccontextmanager
async def listening() -> AsyncIterator[Impostor]:
    server, servant = grpc.aio.server(options=CHANNEL_OPTIONS[:2]), Impostor()
    add_GRPCInferenceServiceServicer_to_server(servant, server)
    servant.url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servant
    await server.stop(0)


@pytest.fixture
async def impostor() -> AsyncIterator[Impostor]:
    async with listening() as servant:
        yield servant


@pytest.fixture
async def triton(impostor: Impostor) -> AsyncIterator[Triton]:
    opened = Triton(impostor.url)
    yield opened
    await opened.close()


WRONG_ANSWERS: tuple[tuple[str, wire.ModelInferResponse, str], ...] = (
    ("nothing", wire.ModelInferResponse(), "answered nothing"),
    ("another name", answer_of(np.zeros((1, 5, 6), np.float32), name="boxes"), "FP32 boxes instead of FP32 candidates"),
    ("another type", answer_of(np.zeros((1, 5, 6), np.float16), datatype="FP16"), "answered FP16 candidates"),
    ("one row too few", answer_of(np.zeros((1, 4, 6), np.float32)), r"\[1, 4, 6\] instead of float32 \[1, 5, 6\]"),
    ("two images for one", answer_of(np.zeros((2, 5, 6), np.float32)), r"\[2, 5, 6\] instead of"),
    ("no batch axis", answer_of(np.zeros((5, 6), np.float32)), r"\[5, 6\] instead of"),
    ("no shape", altered(lambda answer: answer.outputs[0].ClearField("shape")), "answered 120 bytes for"),
    ("a negative shape", altered(lambda answer: answer.outputs[0].shape.__setitem__(0, -1)), "answered 120 bytes for"),
    ("bytes missing", altered(lambda answer: answer.raw_output_contents.__setitem__(0, b"1234")), "answered 4 bytes"),
    ("numpy 2 in the stub", altered(lambda answer: answer.raw_output_contents.__setitem__(0, b"")), "numpy 1"),
    ("no raw bytes", altered(lambda answer: answer.ClearField("raw_output_contents")), "numpy 1"),
    ("another tensor too", altered(lambda answer: answer.outputs.add(name="more", datatype="FP32")), "FP32 more"),
)


@pytest.mark.parametrize(("answer", "told"), [row[1:] for row in WRONG_ANSWERS], ids=[row[0] for row in WRONG_ANSWERS])
async def test_an_answer_that_breaks_the_contract_is_refused(
    triton: Triton, impostor: Impostor, call_of: CallOf, answer: wire.ModelInferResponse, told: str
) -> None:
    impostor.answer = answer
    with pytest.raises(BackendContractBroken, match=told):
        await triton.infer(call_of())


def raw_call(call_of: CallOf, batch: int = -1) -> Call:
    """A call to a model that is served as it came: two classes, 84 rows."""
    head = RawHead(Tensor("images", "FP32", (batch, 3, 32, 32)), (Tensor("output0", "FP32", (batch, 6, 84)),))
    call = call_of()
    return replace(call, card=replace(call.card, raw=head, layout="yolov8", labels=("a", "b")))


@pytest.mark.parametrize(
    "shape", [(1, 40, 84), (1, 3, 84), (1, 84), (84, 6), (1, 84, 6), (2, 6, 84), (0, 6, 84), (1, 6, 84, 1), ()], ids=str
)
@pytest.mark.parametrize("batch", [-1, 1])
async def test_a_raw_head_of_another_shape_than_the_cards_is_refused(
    triton: Triton, impostor: Impostor, call_of: CallOf, shape: tuple[int, ...], batch: int
) -> None:
    impostor.answer = answer_of(np.zeros(shape, np.float32), name="output0")
    with pytest.raises(BackendContractBroken, match=r"answered output0 .* instead of \[1, 6, 84\]"):
        await triton.infer(raw_call(call_of, batch))


@pytest.mark.parametrize("batch", [-1, 1])
async def test_a_raw_head_of_the_cards_shape_is_decoded(
    triton: Triton, impostor: Impostor, call_of: CallOf, batch: int
) -> None:
    head = np.zeros((1, 6, 84), np.float32)
    head[0, :, 7] = 10, 12, 4, 8, 0.25, 0.75
    impostor.answer = answer_of(head, name="output0")
    rows = await triton.infer(raw_call(call_of, batch))
    assert rows.shape == (1, 5, 6)
    assert rows[0, 0].tolist() == [8, 8, 12, 16, 0.75, 1]


@pytest.mark.parametrize("said", ["", " ", "\n \n"], ids=repr)
async def test_a_refusal_without_words_is_told_by_its_code(
    triton: Triton, impostor: Impostor, call_of: CallOf, said: str
) -> None:
    impostor.refuses = (grpc.StatusCode.INTERNAL, said)
    with pytest.raises(BackendContractBroken, match="INTERNAL"):
        await triton.infer(call_of())


CODES: dict[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.CANCELLED: BackendUnavailable,
    grpc.StatusCode.UNKNOWN: BackendUnavailable,
    grpc.StatusCode.INVALID_ARGUMENT: BackendContractBroken,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.ALREADY_EXISTS: BackendContractBroken,
    grpc.StatusCode.PERMISSION_DENIED: BackendContractBroken,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.FAILED_PRECONDITION: BackendContractBroken,
    grpc.StatusCode.ABORTED: BackendUnavailable,
    grpc.StatusCode.OUT_OF_RANGE: BackendContractBroken,
    grpc.StatusCode.UNIMPLEMENTED: BackendContractBroken,
    grpc.StatusCode.INTERNAL: BackendContractBroken,
    grpc.StatusCode.UNAVAILABLE: BackendUnavailable,
    grpc.StatusCode.DATA_LOSS: BackendContractBroken,
    grpc.StatusCode.UNAUTHENTICATED: BackendContractBroken,
}


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}]
)
async def test_every_code_of_grpc_is_one_of_our_errors(
    triton: Triton, impostor: Impostor, call_of: CallOf, code: grpc.StatusCode
) -> None:
    impostor.refuses = (code, "something went wrong\nat line 1")
    with pytest.raises(ServiceError) as raised:
        await triton.infer(call_of())
    assert raised.type is CODES[code]
    assert "\n" not in str(raised.value)


async def test_a_restricted_protocol_is_not_taken_for_an_absent_server(
    triton: Triton, impostor: Impostor, call_of: CallOf
) -> None:
    impostor.refuses = (
        grpc.StatusCode.UNAVAILABLE,
        "This protocol is restricted, expecting header 'triton-grpc-protocol'",
    )
    with pytest.raises(BackendContractBroken, match="restricted"):
        await triton.infer(call_of())


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, BackendUnavailable, r"^Triton at \S+ is silent, for 5 s by now; look"),
        (grpc.StatusCode.UNAVAILABLE, BackendUnavailable, r"^Triton at \S+ cannot be reached"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded, r"^the queue of Triton at \S+ is full"),
        (grpc.StatusCode.UNIMPLEMENTED, BackendContractBroken, r"^Triton at \S+ failed: no such method"),
    ],
)
async def test_what_goes_wrong_with_triton_itself_is_not_said_of_a_model(
    triton: Triton, impostor: Impostor, code: grpc.StatusCode, kind: type[ServiceError], words: str
) -> None:
    impostor.refuses = (code, "no such method")
    with pytest.raises(kind, match=words):
        await triton.names()


async def test_version_time_priority_and_request_id_travel_with_every_call(
    triton: Triton, impostor: Impostor, call_of: CallOf
) -> None:
    impostor.answer = answer_of(np.zeros((3, 5, 6), np.float32))
    call = call_of(images=3, timeout_s=1.25, version=4, priority=1, request_id="request-9")
    await triton.infer(call)
    request, metadata = impostor.asked[0]
    assert (request.model_name, request.model_version, request.id) == ("echo", "4", "request-9")
    assert request.parameters["timeout"].int64_param == 1_250_000
    assert request.parameters["priority"].uint64_param == 1
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs] == [
        ("images", "UINT8", [3, 32, 32, 3])
    ]
    assert [tensor.name for tensor in request.outputs] == ["candidates"]
    assert list(request.raw_input_contents) == [call.images.tobytes()]
    assert "traceparent" not in metadata


@pytest.mark.parametrize(
    ("traceparent", "travels"),
    [
        ("", False),
        (TRACE + "00", False),
        (TRACE + "01", True),
        (TRACE + "03", True),
        (TRACE + "02", False),
        ("01", False),
    ],
)
async def test_only_a_sampled_trace_is_handed_on(
    triton: Triton, impostor: Impostor, call_of: CallOf, traceparent: str, travels: bool
) -> None:
    await triton.infer(call_of(traceparent=traceparent))
    assert impostor.asked[0][1].get("traceparent") == (traceparent if travels else None)


async def test_a_batch_of_forty_megabytes_passes(triton: Triton, impostor: Impostor, call_of: CallOf) -> None:
    card = call_of().card
    images = np.full((1, 3700, 3700, 3), 7, np.uint8)
    await triton.infer(Call(card, images, 30.0))
    assert impostor.asked[0][0].raw_input_contents[0] == images.tobytes()


async def test_a_server_that_never_answers_is_given_up_in_time(call_of: CallOf) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    triton = Triton(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(DeadlineExceeded):
        await triton.infer(call_of(timeout_s=0.3))
    await triton.close()
    server.close()


async def test_a_connection_closed_under_a_waiting_call_does_not_look_like_a_caller_gone(
    local_triton: object, call_of: CallOf
) -> None:
    triton = Triton(local_triton.endpoint.grpc_url)
    waiting = asyncio.create_task(triton.infer(call_of("slow")))
    await asyncio.sleep(0.1)
    await triton.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        await waiting


async def test_nobody_at_the_address_is_unavailable(free_ports: Callable[[], object], call_of: CallOf) -> None:
    triton = Triton(f"127.0.0.1:{free_ports().grpc}")
    for asking in (triton.served("echo"), triton.infer(call_of())):
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            await asking
    await triton.close()


async def test_several_servers_behind_one_name_are_asked_in_turn(call_of: CallOf) -> None:
    async with listening() as first, listening() as second:
        triton = Triton(f"ipv4:{first.url},{second.url}")
        async with asyncio.timeout(20):
            while not (first.asked and second.asked):
                await triton.infer(call_of())
        before = len(first.asked), len(second.asked)
        for _ in range(20):
            await triton.infer(call_of())
        assert (len(first.asked), len(second.asked)) == (before[0] + 10, before[1] + 10)
        await triton.close()


POLICIES = (
    ({"specific": {"versions": [2]}}, 2, {2}),
    ({"specific": {"versions": [1, 3]}}, 3, {1, 3}),
    ({"all": {}}, 1, {1, 2, 3}),
    ({"latest": {"num_versions": 2}}, 3, {2, 3}),
    ({}, 3, {3}),
)


@pytest.mark.parametrize(("policy", "default", "served"), POLICIES, ids=str)
async def test_only_versions_that_the_policy_lets_through_are_served(
    triton: Triton,
    impostor: Impostor,
    card_of: Callable[..., object],
    policy: dict[str, object],
    default: int,
    served: set[int],
) -> None:
    cards = {version: card_of(version=version) for version in (1, 2, 3)}
    config = wire.ModelConfigResponse().config.__class__(name="echo", version_policy=policy)
    for key, text in cards_to_parameters(cards, default).items():
        config.parameters[key].string_value = text
    impostor.config = wire.ModelConfigResponse(config=config)
    model = await triton.served("echo")
    assert set(model.cards) == served
    assert model.default_version == default


async def test_a_default_version_that_is_not_served_is_refused(
    triton: Triton, impostor: Impostor, card_of: Callable[..., object]
) -> None:
    config = impostor.config.config
    config.name = "echo"
    config.version_policy.specific.versions.append(1)
    for key, text in cards_to_parameters({1: card_of(), 2: card_of(version=2)}, 2).items():
        config.parameters[key].string_value = text
    with pytest.raises(BackendContractBroken, match="lookonce model activate echo 2"):
        await triton.served("echo")


async def test_a_model_without_a_card_is_refused(triton: Triton, impostor: Impostor) -> None:
    impostor.config.config.name = "stranger"
    with pytest.raises(BackendContractBroken, match="carries no card"):
        await triton.served("stranger")
