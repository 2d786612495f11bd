"""Graphs drawn for one picture, freed: a stack of pictures gives what each of them gives alone."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lookonce.forge.batch import free_batch
from lookonce.forge.pen import Pen
from lookonce.forge.running import Execution

SIDE = 4
RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.standard_normal((SIDE, SIDE)).astype(np.float32)
ROWS = RANDOM.standard_normal((1, 16, SIDE)).astype(np.float32)
Draw = Callable[[Pen, str], str]


def rows(pen: Pen, picture: str) -> str:
    """[1,C,S,S] as [1,16,C]."""
    return pen.transpose(pen.reshape(picture, 1, SIDE, 16), 0, 2, 1)


def windows_and_heads_folded_into_the_batch(pen: Pen, picture: str) -> str:
    heads = pen.transpose(pen.reshape(rows(pen, picture), 4, 4, 2, 2), 0, 2, 1, 3)
    seen = pen.draw("Softmax", pen.draw("MatMul", heads, pen.transpose(heads, 0, 1, 3, 2)), axis=-1)
    return pen.reshape(pen.transpose(pen.draw("MatMul", seen, heads), 0, 2, 1, 3), 1, 16, SIDE)


def attention_with_the_batch_in_the_middle(pen: Pen, picture: str) -> str:
    flat = pen.reshape(pen.transpose(rows(pen, picture), 1, 0, 2), -1, SIDE)
    made = pen.draw("Gemm", flat, pen.const(WEIGHTS), transB=1)
    heads = pen.transpose(pen.reshape(made, 16, 2, 2), 1, 0, 2)
    seen = pen.draw("Softmax", pen.draw("MatMul", heads, pen.transpose(heads, 0, 2, 1)), axis=-1)
    joined = pen.reshape(pen.transpose(pen.draw("MatMul", seen, heads), 1, 0, 2), 16, SIDE)
    return pen.add(pen.reshape(joined, 1, 16, SIDE), rows(pen, picture))


def a_transpose_that_was_written_as_a_reshape(pen: Pen, picture: str) -> str:
    turned = pen.reshape(rows(pen, picture), 16, 1, SIDE)
    return pen.transpose(pen.draw("Softmax", pen.draw("MatMul", turned, pen.const(WEIGHTS)), axis=0), 1, 0, 2)


def the_best_rows_looked_up_in_a_flat_list(pen: Pen, picture: str) -> str:
    made = rows(pen, picture)
    _, places = pen.top(pen.greatest(made, -1), 5)
    found = pen.draw("Gather", pen.reshape(made, 16, SIDE), pen.reshape(places, -1), axis=0)
    known = pen.draw("Gather", pen.const(ROWS), pen.reshape(places, -1), axis=1)
    return pen.add(pen.reshape(found, 1, 5, SIDE), known)


def the_best_rows_looked_up_by_picture_and_place(pen: Pen, picture: str) -> str:
    made = rows(pen, picture)
    _, places = pen.top(pen.greatest(made, -1), 5)
    pairs = pen.join([pen.const(np.zeros((5, 1), np.int64)), pen.reshape(places, 5, 1)], 1)
    return pen.reshape(pen.draw("GatherND", made, pairs), 1, 5, SIDE)


def the_best_rows_picked_out_of_known_ones(pen: Pen, picture: str) -> str:
    _, places = pen.top(pen.greatest(rows(pen, picture), -1), 5)
    wide = pen.draw("Tile", pen.unsqueeze(places, -1), pen.ints(1, 1, SIDE))
    return pen.draw("GatherElements", pen.const(ROWS), wide, axis=1)


def a_part_written_over(pen: Pen, picture: str) -> str:
    places = np.stack(np.meshgrid([0], np.arange(16), [0, 1], indexing="ij"), -1)
    doubled = pen.mul(pen.last(rows(pen, picture), 0, 2), pen.floats(2))
    return pen.draw("ScatterND", rows(pen, picture), pen.const(places), doubled)


def a_size_that_is_written_down(pen: Pen, picture: str) -> str:
    grown = pen.draw("Resize", picture, "", "", pen.ints(1, SIDE, 8, 8), mode="nearest")
    return pen.reshape(grown, 1, SIDE, -1)


def known_rows_joined_to_the_pictures(pen: Pen, picture: str) -> str:
    return pen.join([pen.const(ROWS), rows(pen, picture)], 1)


def levels_put_on_top_of_each_other(pen: Pen, picture: str) -> str:
    levels = pen.join([pen.unsqueeze(rows(pen, picture), 0), pen.unsqueeze(pen.const(ROWS), 0)], 0)
    return pen.draw("ReduceMean", levels, axes=[0], keepdims=0)


def the_only_picture_taken_out_and_put_back(pen: Pen, picture: str) -> str:
    alone = pen.draw("Gather", rows(pen, picture), pen.reshape(pen.ints(0)), axis=0)
    return pen.unsqueeze(pen.draw("Softmax", alone, axis=0), 0)


def a_shape_that_is_reckoned(pen: Pen, picture: str) -> str:
    count = pen.cut(pen.draw("Shape", picture), 0, 0, 1)
    return pen.draw("Reshape", picture, pen.join([count, pen.ints(-1, SIDE)], 0))


def a_known_row_repeated(pen: Pen, picture: str) -> str:
    return pen.draw("Expand", pen.last(rows(pen, picture), 0, 1), pen.ints(1, 16, SIDE))


DRAWN = [
    windows_and_heads_folded_into_the_batch,
    attention_with_the_batch_in_the_middle,
    a_transpose_that_was_written_as_a_reshape,
    the_best_rows_looked_up_in_a_flat_list,
    the_best_rows_looked_up_by_picture_and_place,
    the_best_rows_picked_out_of_known_ones,
    a_part_written_over,
    a_size_that_is_written_down,
    known_rows_joined_to_the_pictures,
    levels_put_on_top_of_each_other,
    the_only_picture_taken_out_and_put_back,
    a_shape_that_is_reckoned,
    a_known_row_repeated,
]


def graph_of(draw: Draw) -> onnx.ModelProto:
    pen = Pen("drawn", 16)
    pen.alias(draw(pen, "picture"), "made", TensorProto.FLOAT)
    taken = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, SIDE, SIDE, SIDE])
    given = helper.make_tensor_value_info("made", TensorProto.FLOAT, ["?", "?", "?"])
    graph = helper.make_graph(pen.nodes, "drawn", [taken], [given], pen.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_a_stack_of_pictures_gives_what_each_gives_alone(draw: Draw) -> None:
    fixed = graph_of(draw)
    freed = onnx.ModelProto()
    freed.CopyFrom(fixed)
    free_batch(freed, "picture")
    onnx.checker.check_model(freed)
    alone, together = Execution(fixed), Execution(freed)
    pictures = RANDOM.standard_normal((3, SIDE, SIDE, SIDE)).astype(np.float32)
    wanted = np.concatenate([alone({"picture": pictures[place : place + 1]})[0] for place in range(3)])
    np.testing.assert_allclose(together({"picture": pictures})[0], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(together({"picture": pictures[:1]})[0], wanted[:1], rtol=1e-5, atol=1e-6)


def test_a_graph_that_does_not_hold_its_batch_fast_is_left_as_it_was() -> None:
    def draw(pen: Pen, picture: str) -> str:
        return pen.draw("Relu", pen.mul(picture, pen.floats(2)))

    fixed = graph_of(draw)
    freed = onnx.ModelProto()
    freed.CopyFrom(fixed)
    free_batch(freed, "picture")
    assert freed.graph.node == fixed.graph.node
    assert freed.graph.initializer == fixed.graph.initializer
