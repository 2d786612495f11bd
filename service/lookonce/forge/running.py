"""A graph in memory, run on this machine's CPU."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from lookonce.card import INPUT, OUTPUT
from lookonce.errors import BadModelFile

Images: TypeAlias = NDArray[np.uint8]
Candidates: TypeAlias = NDArray[np.float32]
Runner: TypeAlias = Callable[[Images], Candidates]
"""From `images` [N,H,W,3] to `candidates` [N,K,6]."""

ONLY_WHAT_IS_FATAL = 4


def session_of(model: ModelProto, *, literal: bool = False) -> onnxruntime.InferenceSession:
    """`literal` runs the graph node by node as it is written, with nothing fused and nothing rounded otherwise."""
    options = onnxruntime.SessionOptions()
    if literal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = ONLY_WHAT_IS_FATAL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadModelFile(f"ONNX Runtime cannot load the graph ({reason_of(error)}); export it again.") from error


def reason_of(error: Exception) -> str:
    """What ONNX Runtime says, without `[ONNXRuntimeError] : 10 : INVALID_GRAPH : ` and in one line."""
    return str(error).partition("\n")[0].rpartition("[ONNXRuntimeError]")[2].split(" : ", 3)[-1].strip(". ")[:300]


def runner_of(model: ModelProto, *, literal: bool = False) -> Runner:
    session = session_of(model, literal=literal)

    def run(images: Images) -> Candidates:
        candidates: Candidates = session.run([OUTPUT], {INPUT: images})[0]
        return candidates

    return run
