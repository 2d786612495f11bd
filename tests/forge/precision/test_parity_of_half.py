"""Half-precision sources: their decode part on the same tensors, those tensors against the untouched source."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.forge import sources
from tests.forge.readings import reading_of

from lookonce.errors import ParityBroken
from lookonce.forge.importing import Order, import_model
from lookonce.forge.parity import MOST_BOX_PX, MOST_SCORE, OneRun, is_half
from lookonce.forge.surgery import served_graph


@pytest.mark.parametrize("layout", ["yolov8", "yolov5", "end2end"])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_half_precision_source_is_imported(layout: str, batch: int | str, tmp_path: Path) -> None:
    file = sources.write(sources.draw(layout, half=True, batch=batch), tmp_path / "half.onnx")
    parity = import_model(Order(file=file, name="half", repository=tmp_path / "repository")).card.parity
    assert parity is not None
    assert parity.rows
    assert parity.worst_box_px <= MOST_BOX_PX
    assert parity.worst_score <= MOST_SCORE


@pytest.mark.parametrize("layout", ["yolov8", "end2end"])
def test_a_half_precision_graph_that_is_fed_otherwise_than_its_source_is_refused(layout: str) -> None:
    reading = reading_of(sources.draw(layout, half=True))
    other = replace(reading, feeding=replace(reading.feeding, colour="bgr"))
    both = OneRun(reading, served_graph(other, 50, 8))
    with pytest.raises(ParityBroken, match="farther from the half-precision model"):
        both.reference(sources.noise(1))


def test_only_half_precision_tensors_that_enter_or_leave_count() -> None:
    assert is_half(reading_of(sources.draw("yolov8", half=True)))
    assert not is_half(reading_of(sources.draw("yolov8")))
