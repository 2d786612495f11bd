"""From a source whose layout is known to a graph with the one face every served model has."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lookonce.card import INPUT, OUTPUT, ROW
from lookonce.errors import BadModelFile, ModelRefused
from lookonce.forge.batch import BATCH, free_batch
from lookonce.forge.feeding import SIZES_INPUT
from lookonce.forge.layouts.rows import Head, Kept, Rows
from lookonce.forge.pen import Pen
from lookonce.forge.pictures import draw_picture
from lookonce.forge.recognise import Reading
from lookonce.forge.running import Execution
from lookonce.vision.heads import Floats
from lookonce.vision.letterbox import Geometry, letterbox

FRONT, DECODE = "lookonce/front", "lookonce/decode"
MOST_CANDIDATES = 3840
SCORE_STEP, SCORE_TIE, LOOKED_AT, ALIKE = 0.02, 1e-4, 300, 0.98
NEAR, FAR = 1e-3, 2e-2
"""In shares of a tensor's reach: what rounding leaves in nearly all values, and what it may leave in a few."""


def served_graph(reading: Reading, candidates: int, max_batch: int) -> onnx.ModelProto:
    """`images` UINT8 [N,H,W,3] in, `candidates` FP32 [N,K,6] out."""
    model = onnx.ModelProto()
    model.CopyFrom(reading.probed.model)
    picture = reading.probed.picture
    if picture.batch is not None and (max_batch > 1 or picture.batch > 1):
        free_batch(model, picture.name)
    _step_aside(model.graph, {INPUT, OUTPUT})
    renamed = _own_name(picture.name)
    front, back = _front(reading, renamed, model), _back(reading, candidates, model)
    _put_together(model, front, back)
    _face(model, reading, candidates, 1 if max_batch == 1 else BATCH)
    served = onnx.shape_inference.infer_shapes(model)
    check_batch(served, reading, max_batch)
    return served


def rows_kept(reading: Reading, wanted: int) -> int:
    """K: never more than there are rows, nor than TensorRT's TopK takes."""
    return min(wanted, MOST_CANDIDATES, reading.rows)


def check_batch(served: onnx.ModelProto, reading: Reading, max_batch: int) -> None:
    """Three pictures at once must give what each gives alone."""
    if max_batch == 1:
        return
    pictures = _unlike_pictures(Geometry(reading.spec.width, reading.spec.height, reading.feeding.fit))
    try:
        run = Execution(revealed(served, reading))
        together = run({INPUT: pictures})
        each = [run({INPUT: pictures[place : place + 1]}) for place in range(len(pictures))]
    except (ModelRefused, BadModelFile) as error:
        raise _batch_is_stuck(reading) from error
    alone = [np.concatenate(tensors) for tensors in zip(*each, strict=True)]
    unproven = _suppresses(reading) and not (alone[0][1, :, 4] > 0).any()
    if unproven or any(one.shape != other.shape for one, other in zip(together, alone, strict=True)):
        raise _batch_is_stuck(reading)
    if not all(map(_say_the_same, together[0], alone[0])):
        raise _batch_is_stuck(reading)
    if _keeps_its_places(reading, alone[0]) and not all(map(_give_the_same, together[1:], alone[1:])):
        raise _batch_is_stuck(reading)


def revealed(served: onnx.ModelProto, reading: Reading) -> onnx.ModelProto:
    """A copy whose further outputs are the source's own tensors, just as the decode part reads them."""
    model = onnx.ModelProto()
    model.CopyFrom(served)
    casts = {node.input[0]: node.output[0] for node in model.graph.node if _is_cast_of_decode(node)}
    for name in map(_own_name, reading.output_names):
        model.graph.output.append(helper.make_tensor_value_info(casts.get(name, name), TensorProto.FLOAT, None))
    return model


def _is_cast_of_decode(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and node.output[0].startswith(f"{DECODE}/")


def _keeps_its_places(reading: Reading, rows: Floats) -> bool:
    """Rows that the source ranked itself may change places where they tie; then only decoded rows are compared."""
    return reading.layout.needs_nms or not (rows[..., 4] > 0).any()


def _give_the_same(tensor: NDArray[Any], other: NDArray[Any]) -> bool:
    """Tensors of the source, within what rounding leaves of their reach; the few that amplify it may lie farther."""
    values = np.abs(other[np.isfinite(other)])
    reach = float(values.max(initial=0))
    near, far = (np.isclose(tensor, other, rtol=0, atol=share * reach, equal_nan=True) for share in (NEAR, FAR))
    return bool(far.all() and near.mean() >= ALIKE)


def _say_the_same(rows: Floats, others: Floats) -> bool:
    """Scores in order; boxes and classes of the rows whose score no other row has, for equals may change places."""
    if not np.allclose(rows[:, 4], others[:, 4], rtol=SCORE_STEP, atol=1e-6):
        return False
    alone = np.abs(np.diff(rows[:, 4], prepend=np.inf, append=-np.inf)) > SCORE_TIE * rows[0, 4]
    rows = rows[alone[:-1] & alone[1:] & (rows[:, 4] > 0)][:LOOKED_AT, None]
    apart = np.abs(rows - others[None])
    same = (apart[..., 4] <= SCORE_STEP * rows[..., 4]) & (apart[..., 5] == 0) & (apart[..., :4].max(axis=-1) <= 1)
    return len(rows) == 0 or bool(same.any(axis=1).mean() >= ALIKE)


def _suppresses(reading: Reading) -> bool:
    """Exporters unroll suppression for the pictures they were shown, so that later ones come back empty."""
    return "NonMaxSuppression" in reading.probed.source.operators


def _unlike_pictures(geometry: Geometry) -> NDArray[np.uint8]:
    """A blank, noise and a drawing: so unlike that one's scores are not taken for another's, however small they are."""
    shape = 2, geometry.height, geometry.width, 3
    pair = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    pair[0] = 114
    return np.concatenate([pair, letterbox(draw_picture(1).image_rgb, geometry)[0][None]])


def _batch_is_stuck(reading: Reading) -> ModelRefused:
    source = reading.probed.source
    if _suppresses(reading):
        return ModelRefused(
            f"{source.path} suppresses overlaps inside its graph, for one picture at a time; "
            "export it without NMS (it is done here), or import it with --max-batch 1."
        )
    return ModelRefused(
        f"the batch of {source.path} is fixed inside its graph and cannot be freed; "
        "export it with a dynamic batch, or import it with --max-batch 1."
    )


def _step_aside(graph: onnx.GraphProto, taken: set[str]) -> None:
    """Tensors of the source that carry one of our names get another."""
    names = {name: _own_name(name) for name in taken}
    for node in graph.node:
        _rename(node, names)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, names)
        for value in (*attribute.g.input, *attribute.g.output):
            value.name = names.get(value.name, value.name)


def _own_name(name: str) -> str:
    return f"lookonce/source/{name}" if name in (INPUT, OUTPUT) else name


def _front(reading: Reading, picture: str, model: onnx.ModelProto) -> Pen:
    """Cast first: TensorRT takes UINT8 only where a Cast follows at once."""
    feeding, pen = reading.feeding, Pen(FRONT, reading.probed.source.opset)
    values = pen.to_float(INPUT)
    if feeding.colour == "bgr":
        values = pen.draw("Gather", values, pen.ints(2, 1, 0), axis=3)
    if any(feeding.mean):
        values = pen.draw("Sub", values, pen.floats(feeding.mean))
    if feeding.std != (1, 1, 1):
        values = pen.draw("Div", values, pen.floats(_one_or_three(feeding.std)))
    if not reading.probed.picture.channels_last:
        values = pen.transpose(values, 0, 3, 1, 2)
    kind = reading.probed.picture.kind
    pen.alias(values, picture, helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
    if any(value.name == SIZES_INPUT for value in model.graph.input):
        _draw_sizes(pen, reading)
    return pen


def _one_or_three(values: Iterable[float]) -> list[float]:
    unlike = list(dict.fromkeys(values))
    return unlike if len(unlike) == 1 else list(values)


def _draw_sizes(pen: Pen, reading: Reading) -> None:
    count = pen.cut(pen.draw("Shape", INPUT), 0, 0, 1)
    size = pen.const(np.array([[reading.spec.width, reading.spec.height]], np.int64))
    spread = pen.draw("Expand", size, pen.join([count, pen.ints(2)], 0))
    pen.alias(spread, SIZES_INPUT, TensorProto.INT64)


def _back(reading: Reading, candidates: int, model: onnx.ModelProto) -> Pen:
    pen = Pen(DECODE, reading.probed.source.opset)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    names = [_own_name(name) for name in reading.output_names]
    tensors = [name if kinds[name] == TensorProto.FLOAT else pen.to_float(name) for name in names]
    rows = _draw_rows(reading, pen, tensors)
    nothing, none = pen.floats(0), pen.floats(-1)
    positive = pen.draw("Where", pen.draw("Greater", rows.score, nothing), rows.score, nothing)
    score, places = pen.top(positive, candidates)
    kept = Kept(_gather(pen, rows, places), places)
    box, label, score = rows.box(pen, kept), rows.label(pen, kept), pen.unsqueeze(score, -1)
    filled = pen.draw("Greater", score, nothing)
    parts = [pen.draw("Where", filled, box, nothing), score, pen.draw("Where", filled, label, none)]
    pen.alias(pen.join(parts, -1), OUTPUT, TensorProto.FLOAT)
    return pen


def _draw_rows(reading: Reading, pen: Pen, tensors: Iterable[str]) -> Rows:
    return reading.layout.draw(pen, Head(tuple(tensors), reading.output_shapes, reading.spec))


def _gather(pen: Pen, rows: Rows, places: str) -> str:
    """The raw rows of the places kept, [N,K,D]."""
    if rows.axis == 2:
        spread = pen.draw("Expand", pen.unsqueeze(places, 1), pen.ints(1, rows.depth, 1))
        return pen.transpose(pen.draw("GatherElements", rows.raw, spread, axis=2), 0, 2, 1)
    spread = pen.draw("Expand", pen.unsqueeze(places, 2), pen.ints(1, 1, rows.depth))
    return pen.draw("GatherElements", rows.raw, spread, axis=1)


def _put_together(model: onnx.ModelProto, front: Pen, back: Pen) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*front.nodes, *nodes, *back.nodes])
    model.graph.initializer.extend([*front.constants, *back.constants])


def _face(model: onnx.ModelProto, reading: Reading, candidates: int, batch: int | str) -> None:
    shape = [batch, reading.spec.height, reading.spec.width, 3]
    initial = {tensor.name for tensor in model.graph.initializer}
    constants = [value for value in model.graph.input if value.name in initial]
    del model.graph.input[:], model.graph.output[:], model.graph.value_info[:], model.metadata_props[:]
    model.graph.input.extend([helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape), *constants])
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, candidates, ROW]))
