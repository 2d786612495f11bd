"""Taking the header off an Ultralytics `.engine`, and what is said of files that are none."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookonce.card import Precision, Tensor, card_from_json
from lookonce.errors import BadModelFile, FaceDiffers, LayoutUnknown, LookOnceError, ModelRefused, RepositoryRefused
from lookonce.forge.config import config_from_text
from lookonce.forge.repository import published
from lookonce.forge.ultralytics_plan import MOST_HEADER_BYTES, Wanted, import_plan, read_plan
from lookonce.vision.letterbox import Fit

PLAN = b"ftrt" + bytes(range(256)) * 8
HEADER: dict[str, Any] = {
    "description": "Ultralytics YOLO11n model trained on coco.yaml",
    "author": "Ultralytics",
    "date": "2026-05-01T10:00:00.000000",
    "version": "8.3.130",
    "license": "somebody's",
    "docs": "https://docs.ultralytics.com",
    "stride": 32,
    "task": "detect",
    "batch": 8,
    "imgsz": [480, 640],
    "names": {"0": "person", "1": "bicycle", "2": "it's a car"},
    "args": {"batch": 8, "half": True, "int8": False, "dynamic": True, "simplify": True, "nms": False},
    "channels": 3,
}


def engine_file(path: Path, header: object = HEADER, plan: bytes = PLAN) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(4, "little", signed=True) + text + plan)
    return path


def wanted(tmp_path: Path, **changes: Any) -> Wanted:  # noqa: ANN401
    return Wanted(repository=tmp_path / "gpu", name="yolo", **changes)


def without(*keys: str, **changes: object) -> dict[str, Any]:
    return {key: value for key, value in HEADER.items() if key not in keys} | changes


def test_the_bare_plan_is_published_with_its_own_tensors(tmp_path: Path) -> None:
    card = import_plan(engine_file(tmp_path / "best.engine"), wanted(tmp_path))
    version = tmp_path / "gpu" / "yolo" / "1"
    assert (version / "model.plan").read_bytes() == PLAN
    assert card_from_json((version / "card.json").read_bytes(), "the file") == card
    assert published(tmp_path / "gpu", "yolo").cards == {1: card}
    assert card.labels == ("person", "bicycle", "it's a car")
    assert (card.geometry.width, card.geometry.height, card.geometry.fit) == (640, 480, Fit.CENTRED)
    assert (card.layout, card.precision, card.max_batch, card.needs_nms) == ("yolov8", Precision.FP16, 8, True)
    assert card.exporter == "Ultralytics 8.3.130"
    assert card.raw is not None
    assert card.input_tensor == Tensor("images", "FP16", (-1, 3, 480, 640))
    assert card.output_tensors == (Tensor("output0", "FP16", (-1, 7, 6300)),)


def test_the_config_speaks_of_the_plans_own_tensors(tmp_path: Path) -> None:
    import_plan(engine_file(tmp_path / "best.engine"), wanted(tmp_path))
    config = config_from_text((tmp_path / "gpu" / "yolo" / "config.pbtxt").read_text(), "the config")
    assert config.max_batch_size == 8
    assert (config.input[0].name, list(config.input[0].dims)) == ("images", [3, 480, 640])
    assert (config.output[0].name, list(config.output[0].dims)) == ("output0", [7, 6300])
    assert {config.input[0].data_type, config.output[0].data_type} == {10}
    assert {graph.batch_size for graph in config.optimization.cuda.graph_spec} == {1, 2, 4, 8}


def test_a_plan_of_one_fixed_batch_has_no_batch_axis_for_triton(tmp_path: Path) -> None:
    header = without(batch=2, args={"half": False, "dynamic": False})
    card = import_plan(engine_file(tmp_path / "best.engine", header), wanted(tmp_path))
    config = config_from_text((tmp_path / "gpu" / "yolo" / "config.pbtxt").read_text(), "the config")
    assert card.input_tensor == Tensor("images", "FP32", (2, 3, 480, 640))
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [2, 3, 480, 640]
    assert [graph.batch_size for graph in config.optimization.cuda.graph_spec] == [0]
    assert [warm_up.batch_size for warm_up in config.model_warmup] == [1]


DONE = "end2end", (-1, 300, 6), 300, False
LAYOUTS = [
    ({"args": {"half": True, "nms": True, "dynamic": True}}, None, DONE),
    ({"end2end": True}, None, DONE),
    ({}, "end2end", DONE),
    ({"imgsz": 64, "stride": 64}, None, ("yolov8", (-1, 7, 85), 85, True)),
    ({"imgsz": 1280}, None, ("yolov8", (-1, 7, 33600), 1000, True)),
]


@pytest.mark.parametrize(("changes", "layout", "told"), LAYOUTS)
def test_the_layout_follows_from_the_header(
    tmp_path: Path, changes: dict[str, Any], layout: str | None, told: tuple[object, ...]
) -> None:
    card = import_plan(engine_file(tmp_path / "a.engine", without(**changes)), wanted(tmp_path, layout=layout))
    assert (card.layout, card.output_tensors[0].shape, card.candidates, card.needs_nms) == told


def test_an_old_header_that_is_silent_needs_to_be_helped(tmp_path: Path) -> None:
    file = engine_file(tmp_path / "old.engine", without("args", "channels", "version"))
    with pytest.raises(LayoutUnknown, match="tell with `--tensors fp16` or `fp32`"):
        import_plan(file, wanted(tmp_path))
    card = import_plan(file, wanted(tmp_path, kind="FP16"))
    assert (card.precision, card.exporter) == (Precision.FP16, "Ultralytics")


@pytest.mark.parametrize("names", [["a", "b"], "{0: 'a', 1: 'b'}", {"1": "b", "0": "a"}])
def test_names_come_in_several_forms(tmp_path: Path, names: object) -> None:
    assert import_plan(engine_file(tmp_path / "a.engine", without(names=names)), wanted(tmp_path)).labels == ("a", "b")


def test_names_are_never_run(tmp_path: Path) -> None:
    trap = f"__import__('pathlib').Path({str(tmp_path / 'sprung')!r}).touch()"
    with pytest.raises(BadModelFile):
        read_plan(engine_file(tmp_path / "a.engine", without(names=trap)))
    assert not (tmp_path / "sprung").exists()


REFUSED: list[tuple[dict[str, Any], dict[str, Any], type[LookOnceError], str]] = [
    ({"task": "segment"}, {}, ModelRefused, "is for the task 'segment'"),
    ({"task": "classify"}, {}, ModelRefused, "LookOnce serves detectors"),
    ({"channels": 1}, {}, ModelRefused, "pictures of 1 channels"),
    ({"imgsz": [600, 640]}, {}, ModelRefused, "says 640x600, which its stride 32 does not divide"),
    ({"description": "Ultralytics RTDETR-l model"}, {}, ModelRefused, "is an RT-DETR"),
    ({"names": {"0": "a", "2": "c"}}, {}, BadModelFile, "numbers its classes with gaps"),
    ({}, {"labels": ("a",)}, ModelRefused, "has 3 classes and `--labels` names 1"),
    ({}, {"layout": "yolov5"}, LayoutUnknown, "has the layout yolov8 or end2end, not 'yolov5'"),
    ({"imgsz": [-64, 64]}, {}, BadModelFile, "imgsz"),
    ({"imgsz": "large"}, {}, BadModelFile, "imgsz"),
    ({"batch": 0}, {}, BadModelFile, "batch"),
    ({"names": {}}, {}, BadModelFile, "names"),
    ({"stride": 0}, {}, BadModelFile, "stride"),
]


@pytest.mark.parametrize(("changes", "wishes", "kind", "said"), REFUSED)
def test_what_cannot_be_served_is_refused_and_nothing_is_left(
    tmp_path: Path, changes: dict[str, Any], wishes: dict[str, Any], kind: type[LookOnceError], said: str
) -> None:
    file = engine_file(tmp_path / "a.engine", without(**changes))
    with pytest.raises(kind, match=said):
        import_plan(file, wanted(tmp_path, **wishes))
    assert [path.name for path in tmp_path.iterdir()] == ["a.engine"]


LONG = b"\x00\x00\x00\x40"
FILES = [
    (b"", r"is empty or nearly so \(0 bytes\)"),
    (b"\x01\x00", r"is empty or nearly so \(2 bytes\)"),
    (PLAN, "is a bare TensorRT plan, without the header"),
    (b"\x02trt" + PLAN, "is a bare TensorRT plan, without the header"),
    (LONG + b"{}" + PLAN, "promise a header of 1073741824 bytes in a file of"),
    (b"\xff\xff\xff\xff{}" + PLAN, "promise a header of -1 bytes"),
    (b"\x00\x00\x00\x00{}" + PLAN, "promise a header of 0 bytes"),
    (b"\x02\x00\x00\x00[]" + PLAN, "its header is damaged"),
    (b"\x02\x00\x00\x00{}" + PLAN, "its header is damaged: task: Field required"),
    (b"\x04\x00\x00\x00\xff\xfe\x00\x01" + PLAN, "its header is damaged: it is no JSON"),
    (b"PK\x03\x04" + PLAN, "is no Ultralytics .engine or was cut short"),
]


@pytest.mark.parametrize(("content", "said"), FILES)
def test_a_file_that_is_no_ultralytics_engine_is_named_for_what_it_is(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "a.engine"
    file.write_bytes(content)
    with pytest.raises(BadModelFile, match=said):
        read_plan(file)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (b"", r"holds no plan behind its header \(0 bytes\)"),
        (PLAN[:60], r"\(60 bytes\)"),
        (b"PK\x03\x04" * 50, "holds a zip file"),
        (b"\x08\x07" * 50, "holds an ONNX model"),
        (bytes(400), "holds zeros"),
    ],
)
def test_what_is_clearly_no_plan_is_refused(tmp_path: Path, plan: bytes, said: str) -> None:
    with pytest.raises(BadModelFile, match=said):
        read_plan(engine_file(tmp_path / "a.engine", HEADER, plan))


def test_a_plan_of_an_unknown_age_is_taken(tmp_path: Path) -> None:
    assert read_plan(engine_file(tmp_path / "a.engine", HEADER, b"new!" + PLAN)).plan == b"new!" + PLAN


@pytest.mark.parametrize("name", ["no-such.engine", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadModelFile, match="cannot be read: "):
        read_plan(tmp_path / name)


def test_a_name_that_triton_would_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryRefused, match="cannot name a model"):
        import_plan(engine_file(tmp_path / "a.engine"), Wanted(repository=tmp_path / "gpu", name="../yolo"))


def test_a_version_with_other_tensors_wants_another_name(tmp_path: Path) -> None:
    import_plan(engine_file(tmp_path / "a.engine"), wanted(tmp_path))
    single = without(args={"half": False, "dynamic": True})
    with pytest.raises(FaceDiffers, match="raw"):
        import_plan(engine_file(tmp_path / "b.engine", single), wanted(tmp_path))
    assert import_plan(engine_file(tmp_path / "c.engine"), wanted(tmp_path)).version == 2


UNHARMED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@UNHARMED
@given(plan=st.binary(min_size=61, max_size=300))
def test_whatever_plan_went_in_comes_out_to_the_byte(tmp_path: Path, plan: bytes) -> None:
    assert read_plan(engine_file(tmp_path / "a.engine", HEADER, b"ftrt" + plan)).plan == b"ftrt" + plan


@UNHARMED
@given(cut=st.integers(0, len(json.dumps(HEADER)) + 4 + 63))
def test_a_file_cut_anywhere_before_its_plan_ends_is_refused(tmp_path: Path, cut: int) -> None:
    file = engine_file(tmp_path / "a.engine")
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(BadModelFile):
        read_plan(file)


@UNHARMED
@given(length=st.integers(-(2**31), 2**31 - 1))
def test_a_header_that_lies_of_its_length_is_refused(tmp_path: Path, length: int) -> None:
    text = json.dumps(HEADER).encode()
    file = tmp_path / "a.engine"
    file.write_bytes(length.to_bytes(4, "little", signed=True) + text + PLAN)
    if length == len(text):
        assert read_plan(file).plan == PLAN
        return
    with pytest.raises(BadModelFile):
        read_plan(file)


@UNHARMED
@given(header=st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.binary())
def test_a_header_of_anything_else_is_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(BadModelFile):
        read_plan(engine_file(tmp_path / "a.engine", header))


@UNHARMED
@given(
    key=st.sampled_from(sorted(HEADER)),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.text()),
)
def test_a_header_with_any_field_spoilt_is_read_or_refused(tmp_path: Path, key: str, value: object) -> None:
    file = engine_file(tmp_path / "a.engine", without(**{key: value}))
    with suppress(LookOnceError):
        import_plan(file, wanted(tmp_path))


def test_a_header_may_not_be_larger_than_any_real_one(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="promise a header of"):
        read_plan(engine_file(tmp_path / "a.engine", without(author="a" * MOST_HEADER_BYTES)))
