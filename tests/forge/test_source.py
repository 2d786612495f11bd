"""Files that are no whole ONNX model, and what is said of each."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data
from tests.forge import sources
from tests.forge.readings import said_plainly

from lookonce.errors import BadModelFile, ModelRefused
from lookonce.forge.recognise import Wishes, read
from lookonce.forge.source import check_opset, labels_from_text, read_source
from lookonce.forge.surgery import served_graph


def refusal(path: Path) -> str:
    with pytest.raises(BadModelFile) as caught:
        read_source(path)
    return said_plainly(caught.value)


@cache
def whole() -> bytes:
    return sources.draw("yolov8").SerializeToString()


def engine_of_ultralytics() -> bytes:
    told = b'{"description": "Ultralytics YOLOv8n", "names": {"0": "person"}}'
    return len(told).to_bytes(4, "little") + told + b"ftrt" + bytes(100)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty (0 bytes); export or copy it again"),
        (b"\x00", "is not an ONNX model"),
        (b"hello, this is no model\n" * 40, "is not an ONNX model"),
        (b"<!DOCTYPE html><html>404</html>", "is not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl" + bytes(200), "is a PyTorch checkpoint"),
        (b"ftrt" + bytes(4000), "is a TensorRT engine"),
        (engine_of_ultralytics(), "lookonce model import-engine"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(200), "is a TensorFlow Lite model"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "is a Keras model"),
        (helper.make_tensor_value_info("x", 1, [1]).SerializeToString(), "is not an ONNX model"),
        (numpy_helper.from_array(np.zeros(4, np.float32), "x").SerializeToString(), "is not an ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "it holds no graph"),
        (bytes(range(256)) * 64, "is not an ONNX model"),
    ],
)
def test_what_is_no_model_is_refused_by_its_kind(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert sentence in refusal(path)


def test_a_missing_file_a_folder_and_a_path_that_cannot_be_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "model.onnx")
    assert "is not a file" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))
    assert "cannot be read" in refusal(tmp_path / "a\0b")
    (tmp_path / "file").write_bytes(whole())
    assert "cannot be read" in refusal(tmp_path / "file" / "model.onnx")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    assert "is not a file" in refusal(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin"])
def test_a_file_larger_than_any_detector_is_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(sources.draw("yolov8"), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    os.truncate(tmp_path / name, 2**33 + 1)
    assert "holds more than 8 GiB" in refusal(path)


@pytest.mark.parametrize("eighths", range(1, 8))
def test_a_truncated_file_is_refused(tmp_path: Path, eighths: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(whole()[: len(whole()) * eighths // 8])
    assert "cut short" in refusal(path)


def test_what_a_good_file_says_of_itself(tmp_path: Path) -> None:
    source = read_source(sources.write(sources.draw("rtdetr", batch="batch"), tmp_path / "model.onnx"))
    assert [str(tensor) for tensor in source.inputs] == ["images float32 [?,3,64,64]", "orig_target_sizes int64 [?,2]"]
    assert [tensor.name for tensor in source.outputs] == ["labels", "boxes", "scores"]
    assert source.opset == 17
    assert source.exporter == "sketch"
    assert source.labels == ("a", "b", "c", "d")
    assert "MatMul" in source.operators


def broken(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = sources.draw("yolov8")
    change(model)
    return sources.write(model, tmp_path / "model.onnx")


def test_a_node_that_reads_what_nothing_makes_is_refused(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[3].input[0] = "nowhere"

    assert "reads nowhere, which nothing makes" in refusal(broken(tmp_path, change))


def test_nodes_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    """Ultralytics' half-precision export writes its casts last."""

    def swap(model: onnx.ModelProto) -> None:
        first, *rest = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*rest, first])

    path = broken(tmp_path, swap)
    onnx.checker.check_model(read_source(path).model)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(onnx.load(path))


def test_nodes_in_a_ring_are_refused(tmp_path: Path) -> None:
    def ring(model: onnx.ModelProto) -> None:
        model.graph.node[1].input[0] = model.graph.node[5].output[0]

    assert "before it is made" in refusal(broken(tmp_path, ring))


def test_an_output_that_nothing_makes_is_refused(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.output[0].name = "nowhere"

    with pytest.raises(BadModelFile) as caught:
        read(read_source(broken(tmp_path, change)), Wishes())
    said_plainly(caught.value)


def with_weights_beside(folder: Path, location: str = "weights.bin") -> Path:
    model = sources.draw("yolov8")
    convert_model_to_external_data(model, location=location, size_threshold=1024)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_weights_that_lie_beside_the_model_are_read_and_change_its_digest(tmp_path: Path) -> None:
    path = with_weights_beside(tmp_path)
    inside = read_source(sources.write(sources.draw("yolov8"), tmp_path / "inside.onnx"))
    source = read_source(path)
    for found, expected in zip(source.model.graph.initializer, inside.model.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(found), numpy_helper.to_array(expected))
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    assert read_source(path).sha256 != source.sha256


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    path = with_weights_beside(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert "keeps its weights in weights.bin, which is missing; put it beside the model" in refusal(path)


@pytest.mark.parametrize("left", [0, 100, -4])
def test_weights_that_are_cut_short_are_refused(tmp_path: Path, left: int) -> None:
    path = with_weights_beside(tmp_path)
    weights = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(weights[:left])
    assert re.search("cut short|cannot be read", refusal(path))


OUTSIDE = "../../../../../../../../etc/passwd", "/etc/passwd", "../outside.bin"


@pytest.mark.parametrize("location", [*OUTSIDE, "a\0b", "a\nb", ""])
def test_weights_outside_the_models_folder_are_never_opened(tmp_path: Path, location: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(200_000))
    path = with_weights_beside(inner)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    said = refusal(sources.write(model, path))
    assert "root:" not in said
    assert "outside its own folder" in said or location not in OUTSIDE


def test_weights_behind_a_link_out_of_the_folder_are_never_opened(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = with_weights_beside(inner)
    (inner / "weights.bin").rename(tmp_path / "outside.bin")
    (inner / "weights.bin").symlink_to(tmp_path / "outside.bin")
    assert "outside its own folder" in refusal(path)


@pytest.mark.parametrize("value", ["-5", "99999999999", "many"])
@pytest.mark.parametrize("key", ["offset", "length"])
def test_weights_at_a_place_that_cannot_be_are_refused(tmp_path: Path, key: str, value: str) -> None:
    path = with_weights_beside(tmp_path)
    model = onnx.load(path, load_external_data=False)
    outside = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    kept = [entry for entry in outside.external_data if entry.key != key]
    del outside.external_data[:]
    outside.external_data.extend([*kept, onnx.StringStringEntryProto(key=key, value=value)])
    refusal(sources.write(model, path))


def with_branches() -> onnx.ModelProto:
    """A detector with an If whose branches read the outer graph, an optional input left out, and sparse weights."""
    sketch = sources.Sketch(metadata={"names": str(dict(enumerate("abcd")))})
    boxes, scores = sketch.centres(84), sketch.unit(84, 4)
    condition = sketch.op("Greater", sketch.op("ReduceMax", "images", keepdims=0), sketch.floats(-1))

    def branch(name: str, tensor: str) -> onnx.GraphProto:
        node = helper.make_node("Identity", [tensor], [f"{name}_out"])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_out", 1, None)])

    chosen = sketch.op("If", condition, then_branch=branch("then", scores), else_branch=branch("other", boxes))
    clipped = sketch.op("Clip", sketch.reshape(chosen, 1, 84, 4), "", sketch.floats(1))
    rows = sketch.op("Concat", boxes, clipped, axis=-1)
    shifted = sketch.op("Add", rows, "sparse")
    sketch.give(sketch.op("Transpose", shifted, perm=[0, 2, 1]), "output0", 8, 84)
    model = sketch.model()
    values = numpy_helper.from_array(np.array([0.25], np.float32), "sparse")
    indices = numpy_helper.from_array(np.array([[0, 0, 2]], np.int64), "sparse_places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1, 84, 8]))
    return model


def test_branches_optional_inputs_and_sparse_weights_are_whole(tmp_path: Path) -> None:
    source = read_source(sources.write(with_branches(), tmp_path / "model.onnx"))
    reading = read(source, Wishes())
    assert reading.layout.name == "yolov8"
    served_graph(reading, 10, 1)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", ()),
        ("{0: 'a', 1: 'b'}", ("a", "b")),
        ("{1: 'b', 0: 'a'}", ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ('{"1": "b", "0": "a"}', ("a", "b")),
        ('["\\ud83d\\ude00", "a\\/b"]', ("\U0001f600", "a/b")),
        ('{"1": "a", "2": "b"}', ()),
        ('{"0": null}', ()),
        ("('a', 7)", ("a", "7")),
        ("{}", ()),
        ("[]", ()),
        ("{1: 'a', 2: 'b'}", ()),  # no place for class 0
        ("{'a': 0}", ()),
        ("{[]: 'a'}", ()),
        ("{0: ['a']}", ()),
        ("'abc'", ()),
        ("3", ()),
        ("a, b", ()),
        ("__import__('os').system('touch /tmp/owned')", ()),
        ("[x for x in (1, 2)]", ()),
        ("['a'] * 10**9", ()),
        ("(" * 10_000, ()),
        ("[" * 10_000 + "]" * 10_000, ()),
        ("-" * 100_000 + "1", ()),
        ("1+" * 100_000 + "1", ()),
        ("a" + ".a" * 100_000, ()),
        ("9" * 10_000, ()),
        ("['" + "a" * 2**21 + "']", ()),
        ("\x00", ()),
        ("\ud800", ()),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_labels_are_parsed_and_never_run(text: str, labels: tuple[str, ...]) -> None:
    assert labels_from_text(text) == labels


@given(st.text(max_size=60))
def test_no_text_of_labels_escapes(text: str) -> None:
    assert all(isinstance(label, str) for label in labels_from_text(text))


def test_labels_in_the_file_are_data(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    names = {"names": f"__import__('pathlib').Path({str(owned)!r}).touch()"}
    source = read_source(sources.write(sources.draw("yolov8", metadata=names), tmp_path / "model.onnx"))
    assert source.labels == ()
    assert not owned.exists()


@pytest.mark.parametrize(("opset", "taken"), [(9, False), (10, False), (11, True), (21, True)])
def test_an_old_opset_is_refused(tmp_path: Path, opset: int, *, taken: bool) -> None:
    source = read_source(sources.write(sources.draw("yolov8", opset=opset), tmp_path / "model.onnx"))
    if taken:
        check_opset(source)
        return
    with pytest.raises(ModelRefused, match=f"is of opset {opset}; export it with opset 11 or newer"):
        check_opset(source)
