"""Pictures to ask about: shapes on a slope of light with a sensor's noise, the same at every run."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

QUALITY: Final = 90
NOISE: Final = 12.8
"""So that 640×480 is a file of 126 KB, as a camera's are."""
SIZES_WH: Final = {"480p": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}


def write_photos(folder: Path) -> dict[str, Path]:
    """A JPEG of every size, by its name."""
    return {name: _write(folder / f"{name}.jpg", size_wh) for name, size_wh in SIZES_WH.items()}


def photo(size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """[H,W,3], BGR."""
    width, height = size_wh
    chance = np.random.default_rng(4)
    across, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    scene = np.uint8(60 + 90 * across + 60 * down * np.array([1.0, 0.7, 0.4]))
    for _ in range(60):
        centre = int(chance.integers(width)), int(chance.integers(height))
        radius = int(chance.integers(height // 40, height // 6))
        cv2.circle(scene, centre, radius, chance.integers(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    grain = chance.normal(0, NOISE, (height, width, 3))
    return np.clip(scene + grain, 0, 255).astype(np.uint8)


def _write(path: Path, size_wh: tuple[int, int]) -> Path:
    """With the colours at half the size, as nearly every camera stores them."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, jpeg = cv2.imencode(".jpg", photo(size_wh), options)
    path.write_bytes(bytes(jpeg))
    return path
