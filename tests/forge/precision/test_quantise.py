"""INT8 as explicit pairs of quantisers, calibrated on pictures."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from lookonce.errors import ModelRefused
from lookonce.forge.calibration import limits_of
from lookonce.forge.flow import Flow, opset_of
from lookonce.forge.gallery import drawn
from lookonce.forge.quantise import quantise, quantised
from lookonce.forge.running import runner_of
from lookonce.vision.letterbox import Geometry

GEOMETRY = Geometry(640, 640)


def fill(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for place in range(count):
        small = rng.integers(0, 256, (4, 4, 3), np.uint8)
        cv2.imwrite(str(folder / f"{place:03}.png"), cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.mark.parametrize("count", [0, 99])
def test_fewer_than_100_pictures_are_refused_with_their_count(dense: ModelProto, tmp_path: Path, count: int) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(ModelRefused, match=rf"holds {count} pictures .* needs 100 or more.*broken\.jpg"):
        quantise(dense, fill(tmp_path, count), GEOMETRY)


def test_a_hundred_pictures_calibrate(dense: ModelProto, tmp_path: Path) -> None:
    told = list[tuple[str, int, int]]()
    made = quantise(dense, fill(tmp_path, 100), GEOMETRY, lambda *said: told.append(said))
    assert "QuantizeLinear" in {node.op_type for node in made.graph.node}
    assert told[-1] == ("calibrating int8", 100, 100)


@pytest.fixture
def made(served: ModelProto) -> ModelProto:
    return quantised(served, drawn(GEOMETRY, 2))


def test_the_graph_is_sound_and_keeps_its_face(
    served: ModelProto, made: ModelProto, picture: NDArray[np.uint8]
) -> None:
    onnx.checker.check_model(made, full_check=True)
    assert made.graph.input[0] == served.graph.input[0]
    assert made.graph.output[0] == served.graph.output[0]
    assert (made.ir_version, opset_of(made)) == (served.ir_version, opset_of(served))
    assert np.isfinite(runner_of(made)(picture[None])).all()


def test_every_zero_point_is_zero_and_every_scale_positive(made: ModelProto) -> None:
    flow = Flow(made.graph)
    for node in flow.nodes:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            assert flow.constant(node.input[2]).dtype == np.int8
            assert not flow.constant(node.input[2]).any()
            assert (flow.constant(node.input[1]) > 0).all()


def test_weights_are_int8_with_a_scale_per_channel(dense: ModelProto) -> None:
    flow = Flow(quantised(dense, drawn(GEOMETRY, 2)).graph)
    weights = [node for node in flow.nodes if node.op_type == "DequantizeLinear" and node.input[0] in flow.constants]
    assert weights
    for node in weights:
        values, scale = flow.constant(node.input[0]), flow.constant(node.input[1])
        assert values.dtype == np.int8
        assert scale.shape == (values.shape[0],)
        assert (np.abs(values).reshape(len(scale), -1).max(axis=1) == 127).all()


def test_the_heads_and_all_behind_them_stay_as_they_were(served: ModelProto, made: ModelProto) -> None:
    before, after = Flow(served.graph), Flow(made.graph)
    untouched = before.behind(["candidates"]) | before.last_heavy()
    kept = {node.name: node for node in after.nodes}
    assert all(kept[before.nodes[index].name] == before.nodes[index] for index in untouched)


def test_one_pair_serves_all_that_take_a_tensor(made: ModelProto) -> None:
    sources = Counter(node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear")
    assert set(sources.values()) <= {1}


def test_scores_stay_near_those_of_full_precision(dense: ModelProto, picture: NDArray[np.uint8]) -> None:
    full = runner_of(dense)(picture[None])[0]
    lower = runner_of(quantised(dense, drawn(GEOMETRY, 4)))(picture[None])[0]
    assert np.abs(full[:, 4] - lower[:, 4]).max() < 0.1


def test_an_old_opset_is_lifted_for_scales_per_channel(old: ModelProto, picture: NDArray[np.uint8]) -> None:
    made = quantised(old, drawn(GEOMETRY, 1))
    onnx.checker.check_model(made, full_check=True)
    assert opset_of(made) == 13
    assert runner_of(made)(picture[None]).shape == (1, 6400, 6)


def test_a_graph_without_weights_is_refused(dense: ModelProto) -> None:
    bare = ModelProto()
    bare.CopyFrom(dense)
    del bare.graph.node[:], bare.graph.initializer[:]
    bare.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 100, 6), np.float32), "rows"))
    bare.graph.node.append(onnx.helper.make_node("Identity", ["rows"], ["candidates"]))
    with pytest.raises(ModelRefused, match="--precision fp16"):
        quantised(bare, drawn(GEOMETRY, 1))


def test_limits_are_the_largest_magnitudes_of_all_pictures(dense: ModelProto) -> None:
    front = next(node.output[0] for node in dense.graph.node if node.op_type == "Div")
    pictures = [np.full((640, 640, 3), value, np.uint8) for value in (51, 255, 0)]
    assert limits_of(dense, [front], pictures) == {front: pytest.approx(1)}
    assert limits_of(dense, [front], pictures[:1]) == {front: pytest.approx(0.2)}
