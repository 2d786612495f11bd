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

ERRORS_ONLY = 3


def session_of(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BadModelFile(f"ONNX Runtime cannot load the graph: {reason}. Export the model again.") from error


def runner_of(model: ModelProto) -> Runner:
    session = session_of(model)

    def run(images: Images) -> Candidates:
        candidates: Candidates = session.run([OUTPUT], {INPUT: images})[0]
        return candidates

    return run
