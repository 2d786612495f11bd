"""A graph in memory, run on this machine's CPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from lookonce.card import INPUT
from lookonce.errors import BadModelFile, ModelRefused

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


class Execution:
    """One graph, loaded once: any inputs, any outputs."""

    def __init__(self, model: ModelProto, *, literal: bool = False) -> None:
        self._session = session_of(model, literal=literal)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        try:
            return [np.asarray(output) for output in self._session.run(None, dict(inputs))]
        except Exception as error:
            raise ModelRefused(f"ONNX Runtime cannot run the graph ({reason_of(error)}); export it again.") from error


def runner_of(model: ModelProto, *, literal: bool = False) -> Runner:
    """A graph on our contract."""
    run = Execution(model, literal=literal)
    return lambda images: run({INPUT: images})[0]
