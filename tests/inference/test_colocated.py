"""What goes over the wire to a Triton that sees our memory, held against a server that writes down what it is sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from lookonce.card import Card, RawHead, Tensor, cards_to_parameters
from lookonce.errors import BackendUnavailable
from lookonce.inference.colocated import REST_S, Colocated
from lookonce.inference.port import Call
from lookonce.inference.shared import Canvases, NotShared, sweep

CallOf = Callable[..., Call]
RESTRICTED = grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header 'triton-grpc-protocol'"
MISSING = grpc.StatusCode.INTERNAL, "Unable to open shared memory region: '/lookonce-0'"
AWAY = grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses"


@dataclass
class Ledger(GRPCInferenceServiceServicer):
    """Not a Triton. It knows regions by name and answers nothing but zeros."""

    card: Card
    refuses: tuple[grpc.StatusCode, str] | None = None
    regions: dict[str, wire.SystemSharedMemoryRegisterRequest] = field(default_factory=dict)
    asked: list[wire.ModelInferRequest] = field(default_factory=list)
    registrations: int = 0

    async def ModelConfig(self, _request: object, _context: object) -> wire.ModelConfigResponse:  # noqa: N802
        config = wire.ModelConfigResponse().config.__class__(
            name="echo", version_policy={"specific": {"versions": [1]}}
        )
        for key, text in cards_to_parameters({1: self.card}, 1).items():
            config.parameters[key].string_value = text
        return wire.ModelConfigResponse(config=config)

    async def ModelInfer(  # noqa: N802
        self, request: wire.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> wire.ModelInferResponse:
        where = request.inputs[0].parameters
        name = where["shared_memory_region"].string_param if where else None
        if name is not None and name not in self.regions:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{name}'")
        self.asked.append(request)
        rows = np.zeros((request.inputs[0].shape[0], 5, 6), np.float32)
        answer = wire.ModelInferResponse(raw_output_contents=[rows.tobytes()])
        answer.outputs.add(name="candidates", datatype="FP32", shape=rows.shape)
        return answer

    async def SystemSharedMemoryRegister(  # noqa: N802
        self, request: wire.SystemSharedMemoryRegisterRequest, context: grpc.aio.ServicerContext
    ) -> wire.SystemSharedMemoryRegisterResponse:
        self.registrations += 1
        if self.refuses is not None:
            await context.abort(*self.refuses)
        if request.name in self.regions:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"region '{request.name}' already in manager")
        self.regions[request.name] = request
        return wire.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryStatus(  # noqa: N802
        self, _request: object, _context: object
    ) -> wire.SystemSharedMemoryStatusResponse:
        return wire.SystemSharedMemoryStatusResponse(regions={name: {} for name in self.regions})

    async def SystemSharedMemoryUnregister(  # noqa: N802
        self, request: wire.SystemSharedMemoryUnregisterRequest, _context: object
    ) -> wire.SystemSharedMemoryUnregisterResponse:
        self.regions.pop(request.name, None)
        return wire.SystemSharedMemoryUnregisterResponse()


@dataclass
class Bench:
    """A ledger, an adapter that talks to it, what that one told, and a clock that stands until it is set."""

    ledger: Ledger
    folder: Path
    url: str
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    now: float = 0.0

    def canvases(self, slots: int = 4) -> Canvases:
        return Canvases(slots, lambda event, facts: self.told.append((event, dict(facts))), self.folder)

    @asynccontextmanager
    async def triton(self, canvases: Canvases | None = None) -> AsyncIterator[Colocated]:
        opened = Colocated(self.url, canvases or self.canvases(), lambda: self.now)
        yield opened
        await opened.close()

    @property
    def files(self) -> list[str]:
        return sorted(file.name for file in self.folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Stands for /dev/shm, and must be empty in the end."""
    shm = tmp_path / "shm"
    shm.mkdir()
    yield shm
    assert not list(shm.iterdir())


@pytest.fixture
async def bench(folder: Path, card_of: Callable[..., Card]) -> AsyncIterator[Bench]:
    server, ledger = grpc.aio.server(), Ledger(card_of())
    add_GRPCInferenceServiceServicer_to_server(ledger, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Bench(ledger, folder, f"127.0.0.1:{port}")
    await server.stop(0)


async def laid(triton: Colocated, call: Call) -> wire.ModelInferRequest | None:
    with triton.canvas(call.card, len(call.images)) as canvas:
        canvas[:] = call.images
        await triton.infer(replace(call, images=canvas))


def place_of(request: wire.ModelInferRequest) -> tuple[str, int, int]:
    where = request.inputs[0].parameters
    return (
        where["shared_memory_region"].string_param,
        where["shared_memory_offset"].int64_param,
        where["shared_memory_byte_size"].int64_param,
    )


def is_whole(request: wire.ModelInferRequest) -> bool:
    return len(request.raw_input_contents) == 1 and not request.inputs[0].parameters


async def test_pictures_on_a_canvas_are_named_and_not_sent(bench: Bench, call_of: CallOf) -> None:
    async with bench.triton() as triton:
        await triton.served("echo")
        (name,) = bench.files
        assert bench.ledger.regions[name].byte_size == 4 * 32 * 32 * 3
        assert bench.ledger.regions[name].key == f"/{name}"
        await laid(triton, call_of(images=2, version=1, request_id="request-9", timeout_s=1.25))
        (request,) = bench.ledger.asked
        assert place_of(request) == (name, 0, 2 * 32 * 32 * 3)
        assert list(request.inputs[0].shape) == [2, 32, 32, 3]
        assert not request.raw_input_contents
        assert (request.model_name, request.id, request.parameters["timeout"].int64_param) == (
            "echo",
            "request-9",
            1_250_000,
        )
    assert bench.ledger.regions == {}


async def test_a_part_of_a_canvas_is_named_where_it_lies(bench: Bench, call_of: CallOf) -> None:
    async with bench.triton() as triton:
        await triton.served("echo")
        with triton.canvas(call_of().card, 1), triton.canvas(call_of().card, 3) as canvas:
            await triton.infer(replace(call_of(), images=canvas[1:]))
    assert place_of(bench.ledger.asked[0])[1:] == (2 * 32 * 32 * 3, 2 * 32 * 32 * 3)


@pytest.mark.parametrize(
    "elsewhere", [lambda canvas: canvas.copy(), lambda canvas: canvas[::-1]], ids=["copy", "turned"]
)
async def test_what_does_not_lie_there_in_one_piece_is_sent_whole(
    bench: Bench, call_of: CallOf, elsewhere: Callable[[np.ndarray], np.ndarray]
) -> None:
    async with bench.triton() as triton:
        await triton.served("echo")
        with triton.canvas(call_of().card, 2) as canvas:
            canvas[:] = call_of(images=2).images
            await triton.infer(replace(call_of(), images=elsewhere(canvas)))
            assert bench.ledger.asked[0].raw_input_contents[0] == elsewhere(canvas).tobytes()


async def test_a_request_for_more_than_all_slots_is_sent_whole(bench: Bench, call_of: CallOf) -> None:
    async with bench.triton(bench.canvases(slots=2)) as triton:
        await triton.served("echo")
        await laid(triton, call_of(images=3))
    assert is_whole(bench.ledger.asked[0])


async def test_a_raw_head_has_no_shared_memory(bench: Bench, card_of: Callable[..., Card]) -> None:
    head = RawHead(Tensor("images", "FP32", (-1, 3, 32, 32)), (Tensor("output0", "FP32", (-1, 6, 84)),))
    bench.ledger.card = replace(card_of(), raw=head, layout="yolov8")
    async with bench.triton() as triton:
        await triton.served("echo")
        assert bench.files == []


async def test_a_triton_that_forgot_is_told_again_and_the_caller_notices_nothing(bench: Bench, call_of: CallOf) -> None:
    async with bench.triton() as triton:
        await triton.served("echo")
        bench.ledger.regions.clear()
        await asyncio.gather(*(laid(triton, call_of()) for _ in range(12)))
        assert len(bench.ledger.asked) == 12
        assert is_whole(bench.ledger.asked[-1])
        await triton.served("echo")
        await laid(triton, call_of())
        assert place_of(bench.ledger.asked[-1])[0] in bench.files
    assert [event for event, _ in bench.told] == ["pictures are shared"] * 2


@pytest.mark.parametrize("refusal", [RESTRICTED, MISSING], ids=["restricted", "elsewhere"])
async def test_a_triton_that_cannot_have_it_is_asked_again_rarely_and_told_of_once(
    bench: Bench, call_of: CallOf, refusal: tuple[grpc.StatusCode, str]
) -> None:
    bench.ledger.refuses = refusal
    async with bench.triton() as triton:
        for bench.now in (0.0, 1.0, REST_S - 1, REST_S + 1, REST_S + 2):
            await triton.served("echo")
            await laid(triton, call_of())
        assert bench.ledger.registrations == 2
        assert all(map(is_whole, bench.ledger.asked))
        ((event, facts),) = bench.told
        assert event == "pictures are not shared"
        assert refusal[1].partition(",")[0] in str(facts["why"])
        assert str(facts["why"]).endswith("or set LOOKONCE_TRITON__TRANSPORT=grpc.")
        bench.ledger.refuses, bench.now = None, 3 * REST_S
        await triton.served("echo")
        await laid(triton, call_of())
        assert not is_whole(bench.ledger.asked[-1])
        facts = {"triton": bench.url, "memory": bench.files[0], "bytes": 4 * 32 * 32 * 3}
        assert bench.told[1:] == [("pictures are shared", facts)]


async def test_a_triton_that_is_away_for_a_moment_is_asked_again_with_the_next_look(
    bench: Bench, call_of: CallOf
) -> None:
    bench.ledger.refuses = AWAY
    async with bench.triton() as triton:
        await triton.served("echo")
        assert bench.told == []
        bench.ledger.refuses = None
        await triton.served("echo")
        await laid(triton, call_of())
    assert not is_whole(bench.ledger.asked[0])


async def test_memory_that_does_not_fit_is_told_of_with_its_bytes(bench: Bench, call_of: CallOf) -> None:
    too_many = 2**40
    async with bench.triton(bench.canvases(slots=too_many)) as triton:
        await triton.served("echo")
        await laid(triton, call_of())
    assert is_whole(bench.ledger.asked[0])
    ((event, facts),) = bench.told
    assert event == "pictures are not shared"
    assert str(facts["why"]).startswith(f"{too_many * 32 * 32 * 3} bytes for {too_many} pictures cannot be had")


async def test_a_machine_without_a_place_for_shared_memory_is_served_all_the_same(
    bench: Bench, call_of: CallOf, tmp_path: Path
) -> None:
    canvases = Canvases(4, lambda event, facts: bench.told.append((event, dict(facts))), tmp_path / "nowhere")
    async with bench.triton(canvases) as triton:
        await triton.served("echo")
        await laid(triton, call_of())
    assert is_whole(bench.ledger.asked[0])
    assert "No such file" in str(bench.told[0][1]["why"])


async def test_calls_before_the_first_look_are_sent_whole(bench: Bench, call_of: CallOf) -> None:
    async with bench.triton() as triton:
        await laid(triton, call_of())
    assert is_whole(bench.ledger.asked[0])


async def test_two_adapters_have_one_memory(bench: Bench, call_of: CallOf) -> None:
    canvases = bench.canvases()
    async with bench.triton(canvases) as first, bench.triton(canvases) as second:
        await asyncio.gather(first.served("echo"), second.served("echo"))
        assert len(bench.files) == 1
        call = call_of()
        with first.canvas(call.card, 1) as canvas:
            await second.infer(replace(call, images=canvas))
    assert not is_whole(bench.ledger.asked[0])


async def test_what_the_dead_left_is_removed_and_what_the_living_have_stays(
    bench: Bench, card_of: Callable[..., Card]
) -> None:
    dead, other = "lookonce-0123456789abcdef", "lookonce_1_2_something-else"
    for name in (dead, other):
        (bench.folder / name).write_bytes(b"rubbish")
    bench.ledger.regions |= {name: wire.SystemSharedMemoryRegisterRequest(name=name) for name in (dead, "a stranger's")}
    neighbour = bench.canvases()
    living = neighbour.made(card_of()).name
    sweep(bench.folder)
    async with bench.triton() as triton:
        await triton.served("echo")
        assert dead not in bench.files
        assert {living, other} < set(bench.files)
        assert dead not in bench.ledger.regions
        assert "a stranger's" in bench.ledger.regions
    assert bench.files == sorted([living, other])
    neighbour.close()
    (bench.folder / other).unlink()


def test_closed_canvases_make_nothing_more(folder: Path, card_of: Callable[..., Card]) -> None:
    canvases = Canvases(4, lambda _event, _facts: None, folder)
    region = canvases.made(card_of())
    assert canvases.made(card_of()) is region
    canvases.close()
    region.pixels[:] = 1
    with pytest.raises(NotShared):
        canvases.made(card_of())


async def test_nobody_at_the_address_is_unavailable(bench: Bench, free_ports: Callable[[], object]) -> None:
    triton = Colocated(f"127.0.0.1:{free_ports().grpc}", bench.canvases())
    with pytest.raises(BackendUnavailable):
        await triton.served("echo")
    await triton.close()
