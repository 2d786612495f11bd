"""Half precision in the graph: where it stands, where it must not, and what it does to boxes."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lookonce.errors import ModelRefused
from lookonce.forge.flow import Flow
from lookonce.forge.half import fits_half, to_fp16
from lookonce.forge.rounding import rounded_twin
from lookonce.forge.running import runner_of

HEAVY = {"Conv", "MatMul", "Gemm"}


def types_of(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    infos = (*graph.input, *graph.output, *graph.value_info)
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def with_weight(model: ModelProto, place: int, value: float) -> ModelProto:
    """The same graph, one number of its `place`-th convolution replaced."""
    changed = ModelProto()
    changed.CopyFrom(model)
    name = [node.input[1] for node in changed.graph.node if node.op_type == "Conv"][place]
    stored = next(tensor for tensor in changed.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(stored).copy()
    values.flat[0] = value
    stored.CopyFrom(numpy_helper.from_array(values, name))
    return changed


def test_the_face_stays_as_the_contract_says(served: ModelProto) -> None:
    half = to_fp16(served)
    onnx.checker.check_model(half, full_check=True)
    assert [half.graph.input[0].SerializeToString()] == [served.graph.input[0].SerializeToString()]
    assert half.graph.output[0].SerializeToString() == served.graph.output[0].SerializeToString()
    assert (half.ir_version, half.opset_import[0].version) == (served.ir_version, served.opset_import[0].version)


def test_the_heavy_work_is_half_precision(served: ModelProto) -> None:
    half = to_fp16(served)
    types, flow = types_of(half), Flow(half.graph)
    assert {types[flow.nodes[index].output[0]] for index in flow.heavy} == {TensorProto.FLOAT16}
    stored = [tensor for tensor in half.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert all(numpy_helper.to_array(tensor).size <= 4 * 6400 for tensor in stored)
    assert half.ByteSize() < served.ByteSize()


def test_no_node_that_decodes_boxes_touches_half_precision(served: ModelProto) -> None:
    half = to_fp16(served)
    types, flow = types_of(half), Flow(half.graph)
    decoding = [flow.nodes[index] for index in flow.behind(["candidates"])]
    assert {"TopK", "GatherElements"} <= {node.op_type for node in decoding}
    for node in decoding:
        is_cut = node.op_type == "Cast" and flow.maker[node.input[0]] in flow.heavy
        names = node.output if is_cut else (*node.input, *node.output)
        assert TensorProto.FLOAT16 not in {types[name] for name in names if name}, node.name


def test_the_front_computes_at_full_precision(served: ModelProto) -> None:
    half = to_fp16(served)
    types = types_of(half)
    front = [node for node in half.graph.node if node.name.startswith("lookonce/front/") and "/half" not in node.name]
    assert front[0].op_type == "Cast"
    assert all(types[name] != TensorProto.FLOAT16 for node in front for name in node.output)


def test_no_cast_undoes_another(served: ModelProto) -> None:
    flow = Flow(to_fp16(served).graph)
    for index, node in enumerate(flow.nodes):
        makers = [flow.nodes[maker].op_type for maker in flow.makers_of(index)]
        assert not (node.op_type == "Cast" and "Cast" in makers and node.name.endswith(("/half", "/full")))


def test_the_neck_is_one_piece(dense: ModelProto) -> None:
    """Resize, Concat, MaxPool and the activations are no FP32 islands: one cast before them, one behind each head."""
    casts = [node for node in to_fp16(dense).graph.node if node.name.endswith(("/half", "/full"))]
    assert len(casts) == 3


def test_boxes_far_from_the_origin_move_less_than_a_twentieth_of_a_pixel(
    served: ModelProto, picture: NDArray[np.uint8]
) -> None:
    full, half = runner_of(served)(picture[None])[0], runner_of(rounded_twin(to_fp16(served)))(picture[None])[0]
    away = np.abs(full[:, None, :4] - half[None, :, :4]).max(axis=2).min(axis=1)
    far = np.abs(full[:, :4]).max(axis=1) > 512
    assert far.sum() > 5
    assert np.median(away[far]) < 0.05
    in_half = full[far, :4].astype(np.float16).astype(np.float32)
    assert np.abs(full[far, :4] - in_half).max() > 0.05


def test_a_weight_beyond_half_precision_stays_whole(dense: ModelProto, picture: NDArray[np.uint8]) -> None:
    loud = with_weight(dense, 1, 1e6)
    half = to_fp16(loud)
    types, flow = types_of(half), Flow(half.graph)
    full_convs = [index for index in flow.heavy if types[flow.nodes[index].output[0]] == TensorProto.FLOAT]
    assert len(full_convs) == 1
    assert np.isfinite(runner_of(half)(picture[None])).all()


def test_a_named_node_stays_at_full_precision(dense: ModelProto) -> None:
    name = next(node.name for node in dense.graph.node if node.op_type == "MaxPool")
    half = to_fp16(dense, {name})
    kept = next(node for node in half.graph.node if node.name == name)
    assert types_of(half)[kept.output[0]] == TensorProto.FLOAT


def test_weights_that_exporters_share_through_identity_are_stored_once_and_halved(dense: ModelProto) -> None:
    convs = [node for node in dense.graph.node if node.op_type == "Conv"]
    aliased = ModelProto()
    aliased.CopyFrom(dense)
    node = next(node for node in aliased.graph.node if node.name == convs[2].name)
    aliased.graph.node.insert(0, helper.make_node("Identity", [node.input[1]], ["shared"], name="shared"))
    weight, node.input[1] = node.input[1], "shared"
    half = to_fp16(aliased)
    assert types_of(half)[f"{weight}/half"] == TensorProto.FLOAT16
    assert not [node for node in half.graph.node if node.op_type == "Identity"]


def test_what_follows_an_operator_of_unknown_types_stays_as_it_was(dense: ModelProto) -> None:
    strange = ModelProto()
    strange.CopyFrom(dense)
    place, pool = next((i, node) for i, node in enumerate(strange.graph.node) if node.op_type == "MaxPool")
    pooled, pool.output[0] = pool.output[0], "before"
    strange.graph.node.insert(place + 1, helper.make_node("Strange", ["before"], [pooled], domain="example"))
    strange.opset_import.append(helper.make_opsetid("example", 1))
    half = to_fp16(strange)
    after = next(node for node in half.graph.node if pooled in node.input)
    assert after.op_type == "Conv"
    assert not [name for name in after.input if name.endswith("/half")]
    assert f"{pool.input[0]}/full" not in {node.name for node in half.graph.node}


def test_control_flow_is_refused(dense: ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(np.float32(1), "b"))],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [])],
    )
    forked = ModelProto()
    forked.CopyFrom(dense)
    forked.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    forked.graph.node.insert(0, helper.make_node("If", ["yes"], ["one"], then_branch=branch, else_branch=branch))
    with pytest.raises(ModelRefused, match="control flow"):
        to_fp16(forked)


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ([], True),
        ([0.0], True),
        ([0.1, -3.0], True),
        ([65504.0], True),
        ([65520.0], False),
        ([-3.4e38], False),
        ([np.inf], True),
        ([1e-6], False),
        ([1.0, 1e-9], True),
        ([1e-5], False),
    ],
)
def test_what_half_precision_can_store(values: list[float], fits: bool) -> None:
    assert fits_half(np.array(values, np.float32)) is fits


def test_the_twin_rounds_where_the_cpu_does_not() -> None:
    """1000.3 is 1000.5 in half precision; ONNX Runtime's CPU provider leaves such a chain unrounded."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["images"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["a", "a"], ["b"]),
        helper.make_node("Cast", ["b"], ["candidates"], to=TensorProto.FLOAT),
    ]
    face = [value("images", TensorProto.FLOAT, [1])], [value("candidates", TensorProto.FLOAT, [1])]
    graph = helper.make_graph(nodes, "chain", *face)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    twin = runner_of(rounded_twin(model))
    assert twin(np.array([1000.3], np.float32)).tolist() == [2001.0]  # type: ignore[arg-type]
