"""What a source may ask to be fed, at which size, and which plugins may stand behind it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.forge import sources
from tests.forge.readings import NAMES, Draw, model, reading_of, refusal_of, source_of
from tests.forge.sources import Sketch

from lookonce.errors import LookOnceError, ModelRefused
from lookonce.forge.feeding import picture_input, resized
from lookonce.forge.surgery import served_graph


def plugin(op_type: str, **attributes: int) -> Draw:
    def draw(sketch: Sketch) -> None:
        inputs = [sketch.corners(84), sketch.unit(84, 4)][: attributes.pop("inputs", 2)]
        inputs += [sketch.centres(84)] * attributes.pop("anchors", 0)
        sketch.nodes.append(helper.make_node(op_type, inputs, ["out"], domain="TRT", **attributes))
        sketch.outputs.append(helper.make_tensor_value_info("out", sketch.kind, None))

    return draw


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (plugin("BatchedNMSDynamic_TRT"), "the TensorRT plugin BatchedNMSDynamic_TRT, which is not known here"),
        (plugin("YoloLayer_TRT"), "the TensorRT plugin YoloLayer_TRT"),
        (plugin("EfficientNMS_ONNX_TRT"), "the TensorRT plugin EfficientNMS_ONNX_TRT"),
        (plugin("EfficientNMS_TRT", background_class=0), "has a background class; export it without one"),
        (plugin("EfficientNMS_TRT", anchors=1), "decodes boxes from anchors; export it with decoded boxes"),
        (plugin("EfficientNMS_TRT", inputs=1), "fed no boxes or no scores"),
        (plugin("EfficientNMS_TRT", box_coding=2), "no layout we know"),
    ],
)
def test_other_plugins_and_other_uses_of_the_known_one_are_refused(draw: Draw, sentence: str) -> None:
    assert sentence in refusal_of(model(draw, NAMES))


def test_scores_that_the_plugin_would_activate_are_activated() -> None:
    def draw(sketch: Sketch) -> None:
        node = ["EfficientNMS_TRT", [sketch.corners(84), sketch.made(84, 4)], ["out"]]
        sketch.nodes.append(helper.make_node(*node, domain="TRT", score_activation=1))
        sketch.outputs.append(helper.make_tensor_value_info("out", sketch.kind, None))

    reading = reading_of(model(draw, NAMES))
    assert reading.layout.name == "efficientnms-corners"
    served_graph(reading, 10, 2)


def takes(*inputs: tuple[str, int, Sequence[int | str]], metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    """A v8 head that looks at no picture, behind any inputs."""
    sketch = Sketch(metadata=NAMES | (metadata or {}))
    sketch.nodes.clear()
    rows = np.random.default_rng(0).random((1, 8, 84)).astype(np.float32) * [[[64]] * 4 + [[1]] * 4]
    sketch.give(sketch.op("Identity", sketch.floats(rows)), "output0", 8, 84)
    sketch.inputs[:] = [helper.make_tensor_value_info(*value) for value in inputs]
    return sketch.model()


FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([], "it takes nothing, not one picture"),
        ([("images", FLOAT, [1, 3, 64])], "not one picture [N,3,H,W]"),
        ([("a", FLOAT, [1, 3, 64, 64]), ("b", FLOAT, [1, 3, 64, 64])], "not one picture [N,3,H,W]"),
        ([("images", FLOAT, [1, 3, 64, 64]), ("scale_factor", FLOAT, [1, 2])], "also asks for scale_factor"),
        ([("images", FLOAT, [1, 3, 64, 64]), ("image", FLOAT, [1])], "also asks for image float32 [1]"),
        ([("images", FLOAT, [1, 1, 64, 64])], "not a picture of 3 colours"),
        ([("images", FLOAT, [1, 4, 64, 64])], "not a picture of 3 colours"),
        ([("images", FLOAT, [1, 64, 64, 1])], "not a picture of 3 colours"),
        ([("images", FLOAT, ["n", "c", "h", "w"])], "not a picture of 3 colours"),
        ([("images", TensorProto.INT8, [1, 3, 64, 64])], "takes int8 pictures; export it with float32"),
        ([("images", TensorProto.DOUBLE, [1, 3, 64, 64])], "takes float64 pictures"),
        ([("images", TensorProto.BFLOAT16, [1, 3, 64, 64])], "takes bfloat16 pictures"),
        ([("images", TensorProto.STRING, [1, 3, 64, 64])], "takes object pictures"),
        ([("images", FLOAT, [1, 3, "h", "w"])], "choose one with --size WxH"),
        ([("images", FLOAT, [1, 3, 64, "w"])], "choose one with --size WxH"),
    ],
)
def test_what_does_not_take_one_picture_is_refused(inputs: list[Any], sentence: str) -> None:
    assert sentence in refusal_of(takes(*inputs))


@pytest.mark.parametrize(
    ("shape", "imgsz", "asked", "size"),
    [
        ([1, 3, 64, 96], "", None, (96, 64)),
        ([1, 3, 64, 96], "[999, 999]", None, (96, 64)),
        ([1, 3, "h", "w"], "[64, 96]", None, (96, 64)),
        ([1, 3, "h", "w"], "640", None, (640, 640)),
        ([1, 3, "h", "w"], "[64, 96]", (128, 160), (128, 160)),
        (["n", "h", "w", 3], "", (96, 64), (96, 64)),
        ([1, 3, 64, "w"], "", (96, 64), (96, 64)),
        ([1, 3, 64, 96], "", (64, 96), "was exported for 96x64, not 64x96"),
        ([1, 3, 64, "w"], "", (96, 128), "cannot take 96x128"),
        ([1, 3, "h", "w"], "[640, 'x'", None, (640, 640)),
        ([1, 3, "h", "w"], "big", None, "choose one with --size"),
        ([1, 3, "h", "w"], "[100000, 100000]", None, "are served here"),
        ([1, 3, "h", "w"], "", (31, 64), "are served here"),
        ([1, 3, "h", "w"], "", (0, -5), "are served here"),
    ],
)
def test_the_size_is_the_files_or_the_metadatas_or_the_persons(
    shape: list[int | str], imgsz: str, asked: tuple[int, int] | None, size: tuple[int, int] | str
) -> None:
    source = source_of(takes(("images", FLOAT, shape), metadata={"imgsz": imgsz}))
    if isinstance(size, tuple):
        assert resized(source, picture_input(source), asked)[1:] == size
        return
    with pytest.raises(LookOnceError, match=size):
        resized(source, picture_input(source), asked)


def open_sided(sketch: Sketch) -> None:
    """A head that runs at 64x64 alone, behind a picture whose sides are open."""
    sources.DRAWN["yolov8"](sketch)
    for side in sketch.inputs[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = "side"


def test_a_size_that_the_graph_does_not_take_is_said_so() -> None:
    said = refusal_of(model(open_sided, NAMES), ModelRefused, size_wh=(128, 128))
    assert "does not run on pictures of 128x128; choose another size with --size" in said
    assert reading_of(model(open_sided, NAMES), size_wh=(64, 64)).spec.width == 64
