"""The models that Triton serves to the bench: each answers the same for every image, and none looks at it."""

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, ModelConfig, ModelInput, ModelOutput

from lookonce.card import Card, Precision, Target
from lookonce.forge.config import config_for, config_to_text
from lookonce.vision.letterbox import Geometry

NOTHING, USUAL, TWENTY, SAMPLE = "nothing", "usual", "twenty", "shapes"
TWENTY_MS: Final = 20
SAMPLES: Final = Path(__file__).parents[2] / "model_repository" / "cpu"
MODEL: Final = Path(__file__).with_name("models") / "fixed.py"
CLASSES: Final = 80
CARD: Final = Card(
    name=NOTHING, version=1, labels=tuple(f"class {number}" for number in range(CLASSES)),
    geometry=Geometry(640, 640), candidates=300, max_batch=8, needs_nms=True, layout="", precision=Precision.FP32,
    target=Target.PYTHON, exporter="", created="", source_sha256="", served_sha256="",
)  # fmt: skip


def lay(repository: Path) -> Path:
    """What every section but the pinned one asks."""
    _lay(repository / NOTHING, config_for(CARD), candidates())
    _lay(repository / USUAL, usual(), raw_head())
    copytree(SAMPLES / SAMPLE, repository / SAMPLE)
    return repository


def lay_twenty(repository: Path) -> Path:
    """A model that takes a core for 20 ms an image."""
    config = config_for(replace(CARD, name=TWENTY))
    config.parameters["busy_ms"].string_value = str(TWENTY_MS)
    _lay(repository / TWENTY, config, candidates())
    return repository


def usual() -> ModelConfig:
    """The contract of nearly everybody, on our own terms in all else."""
    config = config_for(CARD)
    for field in ("input", "output", "parameters", "model_warmup"):
        config.ClearField(field)
    config.name = USUAL
    config.input.append(ModelInput(name="images", data_type=TYPE_FP32, dims=(3, 640, 640)))
    config.output.append(ModelOutput(name="candidates", data_type=TYPE_FP32, dims=(4 + CLASSES, 8400)))
    return config


def hits() -> NDArray[np.float32]:
    """Rows `x1 y1 x2 y2 score class_id`, best first: eight columns and five lines of things that hardly overlap."""
    number = np.arange(40)
    left, top = 20 + 75 * (number % 8), 20 + 120 * (number // 8)
    return np.stack((left, top, left + 70, top + 115, 0.95 - 0.015 * number, number % 7), axis=1).astype(np.float32)


def candidates() -> NDArray[np.float32]:
    rows = np.zeros((300, 6), np.float32)
    rows[:, 5] = -1
    rows[: len(hits())] = hits()
    return rows


def raw_head() -> NDArray[np.float32]:
    """The same hits, one anchor each: centre, size and a score for every class."""
    head = np.zeros((4 + CLASSES, 8400), np.float32)
    for anchor, (left, top, right, bottom, score, class_id) in enumerate(hits()):
        head[:4, anchor] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        head[4 + int(class_id), anchor] = score
    return head


def _lay(folder: Path, config: ModelConfig, answer: NDArray[np.float32]) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(MODEL.read_text())
    np.save(folder / "1" / "answer.npy", answer)
    (folder / "config.pbtxt").write_text(config_to_text(config))
