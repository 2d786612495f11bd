"""A model that is served as it came, with its own head, through a real Triton."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lookonce.card import Card, RawHead, Tensor
from lookonce.forge.config import config_for, config_to_text
from lookonce.forge.layouts.table import LAYOUTS
from lookonce.inference.port import Call
from lookonce.inference.raw import DECODES
from lookonce.inference.triton import Triton
from lookonce.local.environment import Environment
from lookonce.local.triton import Plan, serving
from lookonce.vision.letterbox import Geometry

HEAD = Path(__file__).parent / "models" / "raw_head.py"
POINTS = 4 * 4 + 2 * 2 + 1


@pytest.mark.parametrize("kind", ["FP32", "FP16"])
async def test_a_raw_head_gives_candidates_like_any_other(
    kind: str,
    card_of: Callable[..., Card],
    plan_for: Callable[..., Plan],
    triton_environment: Environment,
    tmp_path: Path,
) -> None:
    raw = RawHead(Tensor("images", kind, (-1, 3, 32, 32)), (Tensor("output0", kind, (-1, 6, POINTS)),))
    card = replace(card_of("raw"), geometry=Geometry(32, 32), candidates=3, layout="yolov8", raw=raw)
    lay_raw(card, tmp_path)
    with serving(triton_environment, plan_for(tmp_path)) as running:
        triton = Triton(running.endpoint.grpc_url)
        images = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (51, 204)])
        rows = await triton.infer(Call((await triton.served("raw")).card(), images, 30.0))
        await triton.close()
    assert rows.shape == (2, 3, 6)
    np.testing.assert_allclose(rows[:, 0, :4], [[8, 12, 24, 20]] * 2, atol=0.02)
    np.testing.assert_allclose(rows[:, 0, 4:], [[0.2, 1], [0.8, 1]], atol=1e-3)
    np.testing.assert_array_equal(rows[:, 1:, 4:], [[[0, -1]] * 2] * 2)


def test_raw_layouts_are_decoded_as_the_forge_decodes_them() -> None:
    assert {name: LAYOUTS[name].decode for name in DECODES} == DECODES


def lay_raw(card: Card, repository: Path) -> None:
    (repository / "raw" / "1").mkdir(parents=True)
    (repository / "raw" / "1" / "model.py").write_text(HEAD.read_text())
    config = config_for(card)
    del config.model_warmup[:]
    (repository / "raw" / "config.pbtxt").write_text(config_to_text(config))
