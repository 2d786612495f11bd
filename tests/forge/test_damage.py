"""Damage of every kind: whatever the bytes, the file is served, or refused in our own words."""

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.forge import sources
from tests.forge.readings import said_plainly

from lookonce.errors import LookOnceError
from lookonce.forge.layouts.table import LAYOUTS
from lookonce.forge.recognise import Wishes, read
from lookonce.forge.source import Source, read_source
from lookonce.forge.surgery import rows_kept, served_graph

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(data=st.binary(max_size=400))
@example(data=b"\x08\x08")
@example(data=b"\x08\x08\x3a\x04\x0a\x00\x62\x00")
def test_random_bytes_never_escape_the_tree(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(LookOnceError) as caught:
        read(read_source(path), Wishes())
    said_plainly(caught.value)


def served_or_refused(path: Path, layout: str | None) -> None:
    try:
        reading = read(read_source(path), Wishes(layout=layout))
        served_graph(reading, rows_kept(reading, 10), 2)
    except LookOnceError as error:
        said_plainly(error)


@cache
def small(layout: str) -> bytes:
    """A whole file whose weights are small, so that most bytes are structure."""
    model = sources.draw(layout)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 4096:
            tensor.raw_data = bytes(len(tensor.raw_data))
    return model.SerializeToString()


@cache
def structure(layout: str) -> list[int]:
    """The places of bytes that are no weight."""
    data = small(layout)
    spans = [match.span() for match in re.finditer(rb"\x00{64,}", data)]
    hidden = {place for start, end in spans for place in range(start + 8, end - 8)}
    return [place for place in range(len(data)) if place not in hidden]


@FUZZ
@given(data=st.data(), layout=st.sampled_from(["yolov8", "yolov5", "rtdetr", "darknet-v4", "efficientnms-corners"]))
def test_a_damaged_file_is_served_or_refused_and_nothing_else(tmp_path: Path, data: st.DataObject, layout: str) -> None:
    damaged = bytearray(small(layout))
    places = structure(layout)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.sampled_from(places))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.onnx"
    path.write_bytes(damaged)
    served_or_refused(path, data.draw(st.sampled_from([None, layout])))


@pytest.mark.parametrize("drawn", LAYOUTS)
def test_any_layout_asked_of_any_file_is_served_or_refused(tmp_path: Path, drawn: str) -> None:
    path = sources.write(sources.draw(drawn), tmp_path / "model.onnx")
    source: Source = read_source(path)
    for asked in LAYOUTS:
        try:
            reading = read(source, Wishes(layout=asked))
        except LookOnceError as error:
            said_plainly(error)
            assert asked != drawn
        else:
            assert reading.layout.name == asked


def test_a_side_of_impossible_size_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    for sides in ([1, 3, 1_000_000, 1_000_000], [1_000_000, 3, 64, 64], [1, 3, 8, 8], [1, 3, 2**40, 64]):
        model = sources.draw("yolov8")
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, sides))
        with pytest.raises(LookOnceError) as caught:
            read(read_source(sources.write(model, tmp_path / "model.onnx")), Wishes())
        assert "are served here" in said_plainly(caught.value)
