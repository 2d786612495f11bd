"""Half precision as a GPU computes it, on a CPU: sums at full precision, each result rounded to FP16.

ONNX Runtime's CPU provider has no half-precision kernels on x86. It runs such a graph at full precision and drops the
casts between, so that nothing at all is rounded and every half-precision graph looks perfect.
"""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from lookonce.card import Precision
from lookonce.forge.flow import MOVERS
from lookonce.forge.running import Runner, runner_of

EXACT = MOVERS | {"MaxPool", "Relu"}
"""Operators whose result is one of their inputs: already rounded."""


def rounded_twin(half: ModelProto) -> ModelProto:
    """An FP32 graph that answers what the FP16 graph `half` answers where its precision is real."""
    halved = _half_tensors(half)
    twin = ModelProto()
    twin.CopyFrom(half)
    graph = twin.graph
    del graph.node[:], graph.value_info[:]
    for node in half.graph.node:
        graph.node.extend(_rounded(node, halved))
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    return twin


def runner_at(precision: Precision, model: ModelProto) -> Runner:
    """The graph as its precision will answer where it is real, run here."""
    return runner_of(rounded_twin(model) if precision is Precision.FP16 else model)


def _half_tensors(model: ModelProto) -> frozenset[str]:
    typed = shape_inference.infer_shapes(model)
    return frozenset(
        info.name for info in typed.graph.value_info if info.type.tensor_type.elem_type == TensorProto.FLOAT16
    )


def _rounded(node: NodeProto, halved: frozenset[str]) -> Iterator[NodeProto]:
    """The node at full precision, and behind each half-precision output the rounding."""
    full = NodeProto()
    full.CopyFrom(node)
    rounds = [] if node.op_type in EXACT else [place for place, name in enumerate(node.output) if name in halved]
    if node.op_type == "Cast" and rounds:
        full.attribute[0].i = TensorProto.FLOAT
    for place in rounds:
        full.output[place] = f"{node.output[place]}/exact"
    yield full
    for name in (node.output[place] for place in rounds):
        yield helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], to=TensorProto.FLOAT16)
        yield helper.make_node("Cast", [f"{name}/rounded"], [name], to=TensorProto.FLOAT)
