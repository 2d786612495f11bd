"""Runs the version's model.onnx in Triton's Python backend, with nothing but numpy and ONNX Runtime.

This file is copied into every version of the target `python`; it imports nothing of LookOnce.
"""

import json
import os
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime  # it reports to its maker unless told so before

Images: TypeAlias = NDArray[np.uint8]
Candidates: TypeAlias = NDArray[np.float32]

INPUT, OUTPUT = "images", "candidates"
CGROUP_QUOTAS = "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        _refuse_numpy_2()
        _leave_no_bytecode()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads(json.loads(args["model_config"]))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(__file__).with_name("model.onnx")
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise pb_utils.TritonModelException(f"{path} cannot be run by ONNX Runtime: {error}") from error

    def execute(self, requests: list[Any]) -> list[object]:
        """One run for what Triton's dynamic batcher gathered, which is never more than the maximum batch."""
        pictures = [pb_utils.get_input_tensor_by_name(request, INPUT).as_numpy() for request in requests]
        try:
            answers = self._run(np.concatenate(pictures))
        except Exception:  # noqa: BLE001 - whichever request it was, the others deserve their answers
            return [self._alone(images) for images in pictures]
        ends = np.cumsum([len(images) for images in pictures])
        return [_response(part) for part in np.split(answers, ends[:-1])]

    def finalize(self) -> None:
        del self.session

    def _run(self, images: Images) -> Candidates:
        (candidates,) = self.session.run([OUTPUT], {INPUT: images})
        return np.asarray(candidates, np.float32)

    def _alone(self, images: Images) -> object:
        try:
            return _response(self._run(images))
        except Exception as error:  # noqa: BLE001 - every failure must reach the caller as an answer
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"ONNX Runtime failed: {error}"))


def _response(candidates: Candidates) -> object:
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(OUTPUT, candidates)])


def _refuse_numpy_2() -> None:
    """With numpy 2 every output would arrive with 0 bytes and no error."""
    if int(np.__version__.split(".")[0]) < 2:
        return
    raise pb_utils.TritonModelException(
        f"Triton's Python backend cannot answer with numpy {np.__version__}: every output would arrive empty. "
        "Install numpy<2 into the environment that Triton runs in."
    )


def _leave_no_bytecode() -> None:
    """A version's folder holds what was signed and no more; Triton's stub heeds no PYTHONDONTWRITEBYTECODE."""
    bytecode = Path(cache_from_source(__file__))
    with suppress(OSError):
        bytecode.unlink(missing_ok=True)
        bytecode.parent.rmdir()


def _threads(config: dict[str, Any]) -> int:
    """What the model's config asks for in its parameter `threads`, else the cores this process may use."""
    asked = config.get("parameters", {}).get("threads", {}).get("string_value", "")
    return max(1, int(asked)) if asked.isdecimal() else _cores()


def _cores() -> int:
    available = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return available if quota is None else max(1, min(available, round(quota)))


def _cgroup_quota() -> float | None:
    """The cores that the container may use, from cgroup v2 or v1; None where there is no limit."""
    v2, v1 = map(Path, CGROUP_QUOTAS)
    if v2.exists():
        quota, period = v2.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    if v1.exists():
        period = v1.with_name("cpu.cfs_period_us").read_text()
        return int(v1.read_text()) / int(period) if int(v1.read_text()) > 0 else None
    return None
