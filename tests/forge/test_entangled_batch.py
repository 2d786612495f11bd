"""A batch that the exporter fixed is freed rightly, or refused; never is one picture answered with another."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.forge import sources
from tests.forge.readings import NAMES, Draw, model, reading_of, said_plainly
from tests.forge.sources import Sketch

from lookonce.errors import ModelRefused
from lookonce.forge.reference import Reference
from lookonce.forge.running import Execution
from lookonce.forge.surgery import served_graph


def joined_with_a_constant(sketch: Sketch) -> str:
    return sketch.op("Concat", sketch.floats(np.zeros((1, 4, 8))), sketch.made(80, 8), axis=1)


def split(sketch: Sketch) -> str:
    sketch.op("Identity", sketch.made(84, 8), out="stacked")
    node = helper.make_node("Split", ["stacked"], ["only"], axis=0, split=[1])
    sketch.nodes.append(node)
    return "only"


def squeezed(sketch: Sketch) -> str:
    bare = sketch.op("Squeeze", sketch.made(84, 8), sketch.const(np.array([0])))
    return sketch.op("Unsqueeze", bare, sketch.const(np.array([0])))


def averaged(sketch: Sketch) -> str:
    """Runs with two pictures, and gives both the same answer."""
    return sketch.op(
        "Expand", sketch.op("ReduceMean", sketch.made(84, 8), axes=[0]), sketch.op("Shape", sketch.made(84, 8))
    )


def first_alone(sketch: Sketch) -> str:
    bounds = [sketch.const(np.array([v])) for v in (0, 1, 0)]
    return sketch.op("Slice", sketch.made(84, 8), *bounds)


def behind(tensor: Callable[[Sketch], str]) -> Draw:
    def draw(sketch: Sketch) -> None:
        columns = sketch.op("Transpose", sketch.op("Sigmoid", tensor(sketch)), perm=[0, 2, 1])
        scale = np.array([64] * 4 + [1] * 4).reshape(1, 8, 1)
        sketch.give(sketch.op("Mul", columns, sketch.floats(scale)), "output0", 8, 84)

    return draw


ENTANGLED = joined_with_a_constant, split, squeezed, averaged, first_alone


STUCK = r"cannot be freed; export it with a dynamic batch.*--max-batch 1"


def entangled(tensor: Callable[[Sketch], str], batch: int | str) -> onnx.ModelProto:
    return model(behind(tensor), NAMES, batch=batch, opset=11 if tensor is split else 17)


@pytest.mark.parametrize("tensor", ENTANGLED)
def test_a_dynamic_batch_that_is_none_is_refused(tensor: Callable[[Sketch], str]) -> None:
    reading = reading_of(entangled(tensor, "batch"))
    with pytest.raises(ModelRefused, match=STUCK):
        served_graph(reading, 10, 8)


@pytest.mark.parametrize("tensor", [averaged, first_alone])
def test_a_batch_of_two_that_mixes_its_pictures_is_refused(tensor: Callable[[Sketch], str]) -> None:
    reading = reading_of(entangled(tensor, 2))
    with pytest.raises(ModelRefused, match=STUCK):
        served_graph(reading, 10, 8)


@pytest.mark.parametrize("tensor", ENTANGLED)
def test_a_batch_of_one_is_always_served_alone(tensor: Callable[[Sketch], str]) -> None:
    reading, images = reading_of(entangled(tensor, 1)), sources.noise(3)
    run = Execution(served_graph(reading, 10, 1))
    found = np.concatenate([run({"images": image[None]})[0] for image in images])
    np.testing.assert_allclose(found, Reference(reading).candidates(images, 10), atol=1e-4)


@pytest.mark.parametrize("tensor", ENTANGLED)
def test_a_batch_of_one_is_freed_rightly_or_refused(tensor: Callable[[Sketch], str]) -> None:
    reading, images = reading_of(entangled(tensor, 1)), sources.noise(3)
    try:
        run = Execution(served_graph(reading, 10, 8))
    except ModelRefused as error:
        if "cannot be freed" not in said_plainly(error):
            raise
        return
    np.testing.assert_allclose(run({"images": images})[0], Reference(reading).candidates(images, 10), atol=1e-4)


def test_boxes_of_another_picture_are_found_where_no_row_scores() -> None:
    """Scores that only a red picture has hide the boxes of the first picture in every row."""
    sketch = Sketch(metadata=NAMES, batch="batch")
    bare = sketch.op("Gather", sketch.centres(84), sketch.const(np.array(0)), axis=0)
    first = sketch.op("Unsqueeze", bare, sketch.const(np.array([0])))
    boxes = sketch.op("Add", first, sketch.op("Mul", sketch.centres(84), sketch.floats(0)))
    red = sketch.op("Slice", "images", *(sketch.const(np.array([value])) for value in (0, 1, 1)))
    others = sketch.op("Slice", "images", *(sketch.const(np.array([value])) for value in (1, 3, 1)))
    least = sketch.op("ReduceMin", red, axes=[1, 2, 3], keepdims=1)
    gap = sketch.op("Sub", least, sketch.op("ReduceMax", others, axes=[1, 2, 3], keepdims=1))
    gate = sketch.op("Squeeze", sketch.op("Relu", gap), sketch.const(np.array([3])))
    rows = sketch.op("Concat", boxes, sketch.op("Mul", sketch.unit(84, 4), gate), axis=-1)
    sketch.give(sketch.op("Transpose", rows, perm=[0, 2, 1]), "output0", 8, 84)
    with pytest.raises(ModelRefused, match=STUCK):
        served_graph(reading_of(sketch.model()), 10, 8)
