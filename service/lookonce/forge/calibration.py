"""How far the values of a graph's inner tensors reach, learnt from pictures."""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from lookonce.card import INPUT
from lookonce.forge.progress import Report, unheard
from lookonce.forge.running import Images, session_of


def limits_of(
    model: ModelProto, tensors: Sequence[str], pictures: Sequence[Images], report: Report = unheard
) -> dict[str, float]:
    """For each FP32 tensor the largest magnitude it took; the values of one picture at a time are in memory.

    Detectors want all of it: clipping at a percentile, by entropy or by squared error cost more detections.
    """
    outputs = [f"{name}/reach" for name in tensors]
    session, reached = session_of(_observed(model, tensors, outputs)), np.zeros(len(tensors))
    for place, picture in enumerate(pictures):
        report("calibrating int8", place, len(pictures))
        found = np.array(session.run(outputs, {INPUT: picture[None]}), np.float64)
        reached = np.fmax(reached, np.where(np.isfinite(found), found, 0))
    report("calibrating int8", len(pictures), len(pictures))
    return dict(zip(tensors, reached.tolist(), strict=True))


def _observed(model: ModelProto, tensors: Sequence[str], outputs: Sequence[str]) -> ModelProto:
    """The graph, with the largest magnitude of each tensor as one more output."""
    observed = ModelProto()
    observed.CopyFrom(model)
    for name, output in zip(tensors, outputs, strict=True):
        observed.graph.node.append(helper.make_node("Abs", [name], [f"{output}/abs"]))
        observed.graph.node.append(helper.make_node("ReduceMax", [f"{output}/abs"], [output], keepdims=0))
        observed.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return observed
