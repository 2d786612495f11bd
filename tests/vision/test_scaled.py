"""What scaled decoding does to the boxes: the sample model on large drawn JPEGs, exactly decoded and not."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tests.vision.pictures import exif, saved

from lookonce.app import detector_of
from lookonce.forge.pictures import draw_picture
from lookonce.inference.embedded import Embedded
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call
from lookonce.logs import logger
from lookonce.pipeline.request import Seen
from lookonce.pipeline.stages import Bounds, Preparing, finish, prepare
from lookonce.settings import read_settings
from lookonce.vision.boxes import iou_matrix
from lookonce.vision.nms import Suppression

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
async def embedded() -> AsyncIterator[Embedded]:
    inference = Embedded(ROOT / "model_repository" / "cpu")
    yield inference
    await inference.close()


async def found(embedded: Embedded, data: bytes, *, scaled: bool) -> Seen:
    card = (await embedded.served("shapes")).card()
    canvas = np.empty((1, card.geometry.height, card.geometry.width, 3), np.uint8)
    prepared = prepare(data, canvas[0], Preparing(card.geometry, Bounds(10**8, 10**8, 1, scaled=scaled)))
    candidates = await embedded.infer(Call(card, canvas, 60))
    (seen,) = finish(candidates, [prepared], Suppression(card.confidence, card.iou), normalized=False)
    return seen


@pytest.mark.parametrize("size_wh", [(1920, 1080), (1340, 1300)])
async def test_boxes_move_by_less_than_a_pixel_of_the_models_input(
    embedded: Embedded, size_wh: tuple[int, int]
) -> None:
    """In the median; nine in ten overlap their exact one by 0.9 or more. Sizes stay the picture's own."""
    moved, overlaps = [], []
    for seed in range(300, 305):
        data = saved(draw_picture(seed, size_wh).image_rgb, "JPEG", quality=90, exif=exif(seed % 8 + 1))
        exact, scaled = [await found(embedded, data, scaled=scaled) for scaled in (False, True)]
        assert exact.size_wh == scaled.size_wh == (size_wh if seed % 8 < 4 else size_wh[::-1])
        same_class = exact.rows[:, None, 5] == scaled.rows[None, :, 5]
        overlap = iou_matrix(exact.rows[:, :4], scaled.rows[:, :4]) * same_class
        overlaps.append(overlap.max(axis=1))
        moved.append(np.abs(exact.rows[:, :4] - scaled.rows[overlap.argmax(axis=1), :4]).max(axis=1))
    assert len(np.concatenate(moved)) > 12
    assert np.median(np.concatenate(moved)) < max(size_wh) / 640
    assert (np.concatenate(overlaps) >= 0.9).mean() >= 0.9


@pytest.mark.parametrize("scaled", [False, True])
async def test_the_setting_reaches_the_detector(scaled: bool) -> None:
    detector = detector_of(read_settings(decoding={"scaled": scaled}), Fake({}), logger("error", "text"))
    assert detector.bounds.scaled is scaled
    await detector.close()


def test_decoding_is_exact_by_default() -> None:
    assert read_settings().decoding.scaled is False
