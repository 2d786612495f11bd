import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lookonce.errors import BackendContractBroken, DeadlineExceeded
from lookonce.inference.embedded import Embedded
from lookonce.inference.port import Call

CallOf, LayOnnx = Callable[..., Call], Callable[..., Path]


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Embedded]:
    opened = Embedded(tmp_path)
    yield opened
    await opened.close()


async def test_a_config_that_cannot_be_read_is_a_broken_contract(embedded: Embedded, lay_onnx: LayOnnx) -> None:
    (lay_onnx(embedded.repository) / "config.pbtxt").write_text("nonsense {")
    with pytest.raises(BackendContractBroken, match=r"config\.pbtxt of model echo cannot be read: 1:"):
        await embedded.served("echo")


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"x")]
)
async def test_a_model_file_that_cannot_be_run_is_a_broken_contract(
    embedded: Embedded, lay_onnx: LayOnnx, call_of: CallOf, spoil: Callable[[Path], object]
) -> None:
    spoil(lay_onnx(embedded.repository) / "1" / "model.onnx")
    with pytest.raises(BackendContractBroken, match="cannot be run here") as raised:
        await embedded.infer(call_of())
    assert "\n" not in str(raised.value)


async def test_a_model_published_later_is_found(embedded: Embedded, lay_onnx: LayOnnx, call_of: CallOf) -> None:
    lay_onnx(embedded.repository, "slow")
    lay_onnx(embedded.repository, "echo")
    assert (await embedded.infer(call_of())).shape == (1, 5, 6)


async def test_a_run_that_is_late_is_ended_and_makes_room(
    embedded: Embedded, lay_onnx: LayOnnx, call_of: CallOf
) -> None:
    for name in ("slow", "echo"):
        lay_onnx(embedded.repository, name)
    with pytest.raises(DeadlineExceeded):
        await embedded.infer(call_of("slow", timeout_s=0.3))
    assert (await embedded.infer(call_of(timeout_s=20))).shape == (1, 5, 6)


async def test_a_call_that_waits_behind_another_is_late_in_its_own_time(
    embedded: Embedded, lay_onnx: LayOnnx, call_of: CallOf
) -> None:
    for name in ("slow", "echo"):
        lay_onnx(embedded.repository, name)
    running = asyncio.create_task(embedded.infer(call_of("slow", timeout_s=2.0)))
    await asyncio.sleep(0.1)
    with pytest.raises(DeadlineExceeded):
        await embedded.infer(call_of(timeout_s=0.1))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_loaded_model_does_not_need_its_file_any_more(
    embedded: Embedded, lay_onnx: LayOnnx, call_of: CallOf
) -> None:
    folder = lay_onnx(embedded.repository)
    await embedded.infer(call_of())
    shutil.rmtree(folder)
    assert (await embedded.infer(call_of())).shape == (1, 5, 6)
