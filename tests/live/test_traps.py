"""What Triton does and does not say: each trap we know of, shown on a real one, so that a new Triton tells us."""

import asyncio
import http.client
import re
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import ModelConfigRequest, ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from lookonce.errors import BackendContractBroken, BackendUnavailable, DeadlineExceeded, LocalTritonFailed, Overloaded
from lookonce.inference.port import Call
from lookonce.inference.triton import Triton
from lookonce.local.endpoint import Endpoint, is_ready, reload_model
from lookonce.local.environment import Environment
from lookonce.local.triton import LocalTriton, Plan, serving

pytestmark = pytest.mark.live
CallOf, LayModel = Callable[..., Call], Callable[..., Path]


@pytest.fixture
def repository(local_triton: LocalTriton) -> Path:
    return Path(local_triton.endpoint.repository)


@pytest.fixture
async def triton(local_triton: LocalTriton) -> AsyncIterator[Triton]:
    opened = Triton(local_triton.endpoint.grpc_url)
    yield opened
    await opened.close()


@pytest.fixture
async def bare(local_triton: LocalTriton) -> AsyncIterator[GRPCInferenceServiceStub]:
    """The stub without our adapter, to see what Triton itself says."""
    async with grpc.aio.insecure_channel(local_triton.endpoint.grpc_url) as channel:
        yield GRPCInferenceServiceStub(channel)


def asked_of(name: str, timeout_us: int | None = None) -> ModelInferRequest:
    request = ModelInferRequest(model_name=name, raw_input_contents=[bytes(32 * 32 * 3)])
    request.inputs.add(name="images", datatype="UINT8", shape=[1, 32, 32, 3])
    if timeout_us is not None:
        request.parameters["timeout"].int64_param = timeout_us
    return request


async def said_by(asking: grpc.aio.UnaryUnaryCall) -> str:
    try:
        await asking
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name} {error.details()}"
    return "answered"


def metric(endpoint: Endpoint, name: str, *labels: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.ports.metrics, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith(name) and all(label in line for label in labels)
    )


async def until(happened: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not happened():  # noqa: ASYNC110  Triton has no event to wait for
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def environment_with_numpy_2(triton_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A Python for the stub that sees the numpy of these tests and nothing else."""
    assert np.__version__.startswith("2.")
    folder = tmp_path_factory.mktemp("numpy-2")
    venv.create(folder, symlinks=True)
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        (site / name).symlink_to(packages / name)
    return replace(triton_environment, python_folder=folder / "bin")


async def test_with_numpy_2_the_stub_answers_nothing_without_an_error(
    environment_with_numpy_2: Environment,
    lay_model: LayModel,
    plan_for: Callable[..., Plan],
    call_of: CallOf,
    tmp_path: Path,
) -> None:
    lay_model(tmp_path, "echo")
    with serving(environment_with_numpy_2, plan_for(tmp_path)) as started:
        triton = Triton(started.endpoint.grpc_url)
        with pytest.raises(BackendContractBroken, match="answered 0 bytes; has the Python of its stub numpy 2"):
            await triton.infer(call_of())
        await triton.close()


async def test_priority_levels_without_a_default_level_do_not_load(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel
) -> None:
    lay_model(repository, "echo-priority", lambda config: config.dynamic_batching.ClearField("default_priority_level"))
    with pytest.raises(LocalTritonFailed, match="echo-priority"):
        reload_model(local_triton.endpoint, "echo-priority")
    assert "default priority level must be in range [1, 2]" in local_triton.log.read_text()


async def test_a_timeout_of_a_request_is_ignored_where_the_model_has_none_of_its_own(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, bare: GRPCInferenceServiceStub
) -> None:
    def without_default(config: ModelConfig) -> None:
        config.max_batch_size = 1
        config.dynamic_batching.default_queue_policy.default_timeout_microseconds = 0

    lay_model(repository, "slow-lax", without_default)
    lay_model(repository, "slow-strict", lambda config: setattr(config, "max_batch_size", 1))
    for name, said in (("slow-lax", "answered"), ("slow-strict", "UNAVAILABLE Request timeout expired")):
        reload_model(local_triton.endpoint, name)
        first = bare.ModelInfer(asked_of(name), timeout=30)
        await asyncio.sleep(0.1)
        assert said in await said_by(bare.ModelInfer(asked_of(name, timeout_us=50_000), timeout=30))
        await first


async def test_a_full_queue_and_an_expired_request_differ_in_their_text_alone(
    triton: Triton, bare: GRPCInferenceServiceStub, call_of: CallOf
) -> None:
    crowd = [bare.ModelInfer(asked_of("slow"), timeout=30) for _ in range(6)]
    said = [await said_by(asking) for asking in crowd]
    full = [text for text in said if text != "answered"]
    assert full
    assert all(re.search("^UNAVAILABLE .*Exceeds maximum queue size", text) for text in full)
    running = asyncio.create_task(triton.infer(call_of("slow")))
    await asyncio.sleep(0.1)
    assert "UNAVAILABLE Request timeout expired" in await said_by(bare.ModelInfer(asked_of("slow", 1_000), timeout=30))
    await running


async def test_a_full_queue_is_overloaded(triton: Triton, call_of: CallOf) -> None:
    answers = await asyncio.gather(*(triton.infer(call_of("slow")) for _ in range(6)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert 1 <= len(refused) < 6
    assert all(type(error) is Overloaded for error in refused)


async def test_a_request_that_expired_in_the_queue_is_late(triton: Triton, call_of: CallOf) -> None:
    running = asyncio.create_task(triton.infer(call_of("slow")))
    await asyncio.sleep(0.1)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        await triton.infer(call_of("slow", timeout_s=0.2))
    await running


async def test_a_caller_that_goes_away_takes_its_request_out_of_the_queue(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, triton: Triton, call_of: CallOf
) -> None:
    def counted(name: str, label: str = "") -> float:
        return metric(local_triton.endpoint, name, 'model="slow-cancel"', label)

    lay_model(repository, "slow-cancel", lambda config: setattr(config, "max_batch_size", 1))
    reload_model(local_triton.endpoint, "slow-cancel")
    running = asyncio.create_task(triton.infer(call_of("slow-cancel")))
    await asyncio.sleep(0.1)
    queued = asyncio.create_task(triton.infer(call_of("slow-cancel")))
    await asyncio.sleep(0.1)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    await running
    await triton.infer(call_of("slow-cancel"))
    await until(lambda: counted("nv_inference_count") >= 2)
    assert counted("nv_inference_count") == 2
    assert counted("nv_inference_request_failure", 'reason="CANCELED"') == 1


async def test_a_stub_that_dies_is_a_broken_contract_and_the_others_go_on(triton: Triton, call_of: CallOf) -> None:
    with pytest.raises((BackendContractBroken, BackendUnavailable)):
        await triton.infer(call_of("dies"))
    assert (await triton.infer(call_of())).shape == (1, 5, 6)


async def test_a_config_inside_a_version_folder_is_ignored(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, bare: GRPCInferenceServiceStub
) -> None:
    folder = lay_model(repository, "echo-inner")
    (folder / "1" / "config.pbtxt").write_text('name: "echo-inner" max_batch_size: 77')
    reload_model(local_triton.endpoint, "echo-inner")
    answer = await bare.ModelConfig(ModelConfigRequest(name="echo-inner"))
    assert answer.config.max_batch_size == 4


async def test_a_version_outside_the_pinned_policy_is_not_served(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, triton: Triton, call_of: CallOf
) -> None:
    folder = lay_model(repository, "echo-pinned")
    (folder / "2").mkdir()
    (folder / "2" / "model.py").write_text((folder / "1" / "model.py").read_text())
    reload_model(local_triton.endpoint, "echo-pinned")
    assert (await triton.served("echo-pinned")).cards.keys() == {1}
    assert (await triton.infer(call_of("echo-pinned"))).shape == (1, 5, 6)


async def test_an_unloaded_model_leaves_the_server_ready(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, triton: Triton, call_of: CallOf
) -> None:
    endpoint, path = local_triton.endpoint, "/v2/models/echo-gone/ready"
    lay_model(repository, "echo-gone")
    reload_model(endpoint, "echo-gone")
    assert is_ready(endpoint, path)
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.ports.http, timeout=10)
    connection.request("POST", "/v2/repository/models/echo-gone/unload", headers={"Content-Length": "0"})
    assert connection.getresponse().status == 200
    connection.close()
    await until(lambda: not is_ready(endpoint, path))
    await until(lambda: is_ready(endpoint))
    assert not is_ready(endpoint, path)
    with pytest.raises(BackendUnavailable):
        await triton.infer(call_of("echo-gone"))


async def test_a_failed_reload_leaves_the_old_model_serving(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, triton: Triton, call_of: CallOf
) -> None:
    folder = lay_model(repository, "echo-broken")
    reload_model(local_triton.endpoint, "echo-broken")
    (folder / "config.pbtxt").write_text("nonsense {")
    with pytest.raises(LocalTritonFailed, match="did not load echo-broken"):
        reload_model(local_triton.endpoint, "echo-broken")
    assert (await triton.infer(call_of("echo-broken"))).shape == (1, 5, 6)


async def test_what_is_hidden_in_the_repository_stops_a_triton_that_loads_all_and_not_ours(
    triton_environment: Environment,
    lay_model: LayModel,
    plan_for: Callable[..., Plan],
    call_of: CallOf,
    tmp_path: Path,
) -> None:
    lay_model(tmp_path, "echo")
    (tmp_path / ".staging" / "half").mkdir(parents=True)
    with (
        pytest.raises(LocalTritonFailed, match=r"\.staging"),
        serving(triton_environment, plan_for(tmp_path, models=("*",))),
    ):
        pass
    with serving(triton_environment, plan_for(tmp_path)) as started:
        assert started.models == ("echo",)
        triton = Triton(started.endpoint.grpc_url)
        assert (await triton.infer(call_of())).shape == (1, 5, 6)
        await triton.close()


REFILL = """
from pathlib import Path
from tritonclient.grpc.service_pb2 import ModelInferRequest

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

request, pixels, before = ModelInferRequest(), bytes(640 * 640 * 3), resident_mb()
for _ in range(100):
    del request.raw_input_contents[:]
    request.raw_input_contents.append(pixels)
print(resident_mb() - before)
"""
"""What a message that is filled again and again grows by, in MB, in a process of its own."""


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def test_a_message_filled_again_keeps_what_it_held_before() -> None:
    refilled = subprocess.run([sys.executable, "-c", REFILL], capture_output=True, text=True, check=True, timeout=60)
    assert float(refilled.stdout) > 90


async def test_our_messages_keep_nothing(
    local_triton: LocalTriton, repository: Path, lay_model: LayModel, triton: Triton, call_of: CallOf
) -> None:
    lay_model(repository, "echo-640", lambda config: config.input[0].dims.__setitem__(slice(0, 2), [640, 640]))
    reload_model(local_triton.endpoint, "echo-640")
    call = Call(call_of("echo-640").card, np.zeros((1, 640, 640, 3), np.uint8), 30.0)
    await asyncio.gather(*(triton.infer(call) for _ in range(8)))
    before = resident_mb()
    for _ in range(100):
        await triton.infer(call)
    assert resident_mb() - before < 40


def test_the_machine_s_missing_gpu_makes_no_noise(local_triton: LocalTriton) -> None:
    assert not re.search("NVML|DCGM|pinned system memory", local_triton.log.read_text())
