"""Starting a real Triton: what cannot start says why in one sentence, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from lookonce.errors import LocalTritonFailed
from lookonce.local.endpoint import Endpoint, is_ready, running
from lookonce.local.environment import Environment
from lookonce.local.ports import Ports
from lookonce.local.triton import LocalTriton, Plan, models_in, serving

pytestmark = pytest.mark.live
PlanFor, LayModel, Gone = Callable[..., Plan], Callable[..., Path], Callable[[Path], None]


def _without_file(folder: Path) -> None:
    (folder / "1" / "model.py").unlink()


def _without_version(folder: Path) -> None:
    _without_file(folder)
    (folder / "1").rmdir()


def _nonsense(folder: Path) -> None:
    (folder / "config.pbtxt").write_text('name: "echo"\nnonsense {')


def _raising(folder: Path) -> None:
    (folder / "1" / "model.py").write_text("import no_such_module\n")


def _half_written(folder: Path) -> None:
    (folder / "1" / "model.py").write_text("class TritonPyth")


def _without_backend(folder: Path) -> None:
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "python"', 'backend: "tensorrt"'))


BROKEN = (
    (_without_file, "Python model file not found in .*echo/1/model.py"),
    (_without_version, "echo: at least one version must be available"),
    (_nonsense, r"echo: its config\.pbtxt is broken at 2:10: .*nonsense"),
    (_raising, "echo version 1: .*No module named 'no_such_module'"),
    (_half_written, "echo version 1: .*SyntaxError"),
    (
        _without_backend,
        "echo needs the backend tensorrt, which the local Triton does not have; --repository names another",
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda row: row[0].__name__.strip("_"))
def test_a_model_that_fails_to_load_is_named_with_the_reason(
    triton_environment: Environment,
    plan_for: PlanFor,
    lay_model: LayModel,
    gone: Gone,
    broken: tuple[Callable[[Path], None], str],
    tmp_path: Path,
) -> None:
    spoil, why = broken
    spoil(lay_model(tmp_path, "echo"))
    plan = plan_for(tmp_path)
    with pytest.raises(LocalTritonFailed, match=why) as raised, serving(triton_environment, plan):
        pass
    assert "\n" not in str(raised.value)
    assert str(plan.log) in str(raised.value)
    assert running(tmp_path, plan.notes) == ()
    gone(tmp_path)


def test_a_model_that_never_gets_ready_is_given_up(
    triton_environment: Environment, plan_for: PlanFor, lay_model: LayModel, gone: Gone, tmp_path: Path
) -> None:
    folder = lay_model(tmp_path / "models", "echo")
    (folder / "1" / "model.py").write_text("import time\ntime.sleep(1000)\n")
    plan = plan_for(tmp_path / "models", ready_timeout_s=1.0)
    with pytest.raises(LocalTritonFailed, match="was not ready after 1 s"), serving(triton_environment, plan):
        pass
    gone(tmp_path)


def test_a_repository_that_is_not_there_or_holds_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(LocalTritonFailed, match=r"there is no model repository at .*nowhere; name one"):
        models_in(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(LocalTritonFailed, match="there is no model repository at"):
        models_in(tmp_path / "file")
    (tmp_path / ".staging" / "echo").mkdir(parents=True)
    (tmp_path / "half" / "1").mkdir(parents=True)
    with pytest.raises(LocalTritonFailed, match="holds no model; publish one"):
        models_in(tmp_path)


def test_a_taken_port_stops_the_start_before_it_begins(
    triton_environment: Environment, plan_for: PlanFor, lay_model: LayModel, tmp_path: Path
) -> None:
    lay_model(tmp_path, "echo")
    plan = plan_for(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", plan.ports.metrics))
        taken.listen()
        with pytest.raises(LocalTritonFailed, match="--triton-metrics-port"), serving(triton_environment, plan):
            pass
    assert not plan.log.exists()


def test_a_log_that_cannot_be_written_says_so(
    triton_environment: Environment, plan_for: PlanFor, lay_model: LayModel, tmp_path: Path
) -> None:
    lay_model(tmp_path, "echo")
    plan = plan_for(tmp_path, log=tmp_path / "echo" / "config.pbtxt" / "log")
    with pytest.raises(LocalTritonFailed, match=r"the log .* cannot be written"), serving(triton_environment, plan):
        pass


def test_an_environment_without_a_server_says_so(
    triton_environment: Environment, plan_for: PlanFor, lay_model: LayModel, tmp_path: Path
) -> None:
    lay_model(tmp_path, "echo")
    without = replace(triton_environment, server=tmp_path / "tritonserver")
    with pytest.raises(LocalTritonFailed, match="No such file or directory"), serving(without, plan_for(tmp_path)):
        pass


def test_a_triton_that_is_left_takes_everything_with_it_and_writes_nothing_into_the_repository(
    triton_environment: Environment, plan_for: PlanFor, lay_model: LayModel, gone: Gone, tmp_path: Path
) -> None:
    lay_model(tmp_path, "echo")
    before = sorted(tmp_path.rglob("*"))
    plan = plan_for(tmp_path)
    with serving(triton_environment, plan) as triton:
        assert running(tmp_path, plan.notes) == (triton.endpoint,)
        assert is_ready(triton.endpoint, "/v2/models/echo/ready")
    assert running(tmp_path, plan.notes) == ()
    assert not triton.endpoint.is_alive
    gone(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not list(Path("/dev/shm").glob(f"lookonce_{os.getpid()}_{plan.ports.grpc}_*"))  # noqa: S108


HOLDS_A_TRITON = """
import sys, time
from pathlib import Path
from lookonce.local.environment import prepare
from lookonce.local.ports import Ports
from lookonce.local.ports import Ports
from lookonce.local.triton import LocalTriton, Plan, serving

environment, repository, desk, *ports = sys.argv[1:]
plan = Plan(repository=Path(repository), ports=Ports(*map(int, ports)), log=Path(desk, "log"), notes=Path(desk))
with serving(prepare(Path(environment)), plan) as triton:
    print(triton.endpoint.pid, triton.process.pid, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("victim", ["us", "the keeper", "us and the keeper"])
def test_nothing_outlives_a_kill_9(
    triton_environment: Environment,
    plan_for: PlanFor,
    lay_model: LayModel,
    gone: Gone,
    tmp_path: Path,
    victim: str,
) -> None:
    lay_model(tmp_path, "echo")
    plan = plan_for(tmp_path)
    ports = [str(port) for port in (plan.ports.http, plan.ports.grpc, plan.ports.metrics)]
    arguments = [str(triton_environment.backends.parent), str(tmp_path), str(plan.notes), *ports]
    holder = subprocess.Popen([sys.executable, "-c", HOLDS_A_TRITON, *arguments], stdout=subprocess.PIPE, text=True)
    with holder:
        _triton, keeper = map(int, holder.stdout.readline().split())
        pids = {"us": [holder.pid], "the keeper": [keeper], "us and the keeper": [keeper, holder.pid]}[victim]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if victim == "the keeper":
            holder.kill()
    gone(tmp_path)
    assert running(tmp_path, plan.notes) == ()


@pytest.mark.parametrize(
    ("code", "how"), [(-9, "of SIGKILL"), (137, "of SIGKILL"), (1, "with exit code 1"), (255, "with exit code 255")]
)
async def test_a_death_is_told_with_its_signal_whoever_was_killed(
    free_ports: Callable[[], Ports], tmp_path: Path, code: int, how: str
) -> None:
    die = f"import os; os.kill(os.getpid(), {-code})" if code < 0 else f"import os; os._exit({code})"
    process = subprocess.Popen([sys.executable, "-c", die], text=True)  # noqa: ASYNC220
    endpoint = Endpoint(str(tmp_path), process.pid, "", free_ports(), "log")
    with pytest.raises(LocalTritonFailed, match=f"Triton died {how}; its log"):
        await LocalTriton(endpoint, ("echo",), tmp_path / "log", process).watch()


def test_several_broken_models_are_all_named(
    triton_environment: Environment, plan_for: PlanFor, lay_model: LayModel, tmp_path: Path
) -> None:
    def without_default(config: ModelConfig) -> None:
        config.dynamic_batching.ClearField("default_priority_level")

    for name in ("echo-one", "echo-two"):
        lay_model(tmp_path, name, without_default)
    lay_model(tmp_path, "echo")
    with (
        pytest.raises(LocalTritonFailed, match=r"echo-one: default priority.*; echo-two: default priority"),
        serving(triton_environment, plan_for(tmp_path)),
    ):
        pass
