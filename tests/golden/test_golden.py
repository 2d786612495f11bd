"""Results that no optimisation may change: frozen before the first one, to the last bit after rounding.

A new OpenCV, simplejpeg or Pillow may change them too. Look at what changed, then freeze them anew:
`python -m tests.golden.freeze`.
"""

import json
from functools import cache

import numpy as np
import pytest
from tests.golden import cases


@cache
def expected() -> cases.Frozen:
    frozen: cases.Frozen = json.loads(cases.EXPECTED.read_text())
    return frozen


def test_every_pictures_tensor_is_the_frozen_one() -> None:
    assert {name: cases.tensor_digests(data) for name, data in cases.pictures().items()} == expected()["pictures"]


def test_every_set_of_candidates_gives_the_frozen_rows() -> None:
    assert {name: finished() for name, finished in cases.suppressions()} == expected()["candidates"]


async def test_the_sample_model_finds_what_it_found() -> None:
    found = await cases.found_by_the_sample()
    assert list(found) == list(expected()["sample"])
    assert sum(map(len, found.values())) > 20
    for name, rows in expected()["sample"].items():
        tolerance = np.array([0.02, 0.02, 0.02, 0.02, 0.001, 0])
        assert np.shape(found[name]) == np.shape(rows), name
        assert (np.abs(np.array(found[name]) - np.array(rows)) <= tolerance + 1e-9).all(), name


@pytest.mark.parametrize("kind", ["pictures", "candidates", "sample"])
def test_there_is_enough_of_each_kind(kind: str) -> None:
    assert len(expected()[kind]) >= {"pictures": 40, "candidates": 250, "sample": 10}[kind]
