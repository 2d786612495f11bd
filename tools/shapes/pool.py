"""Pictures drawn once, kept on disk, and handed out as augmented batches."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from loss import Truth
from numpy.typing import NDArray
from rich.progress import track

from lookonce.forge.pictures import draw_picture


@dataclass(frozen=True, slots=True)
class Pool:
    """`images_rgb` is uint8 [N, S, S, 3]; picture i owns rows starts[i] to starts[i + 1] of `objects` (xyxy, label)."""

    images_rgb: NDArray[np.uint8]
    objects: NDArray[np.float32]
    starts: NDArray[np.int64]


def open_pool(folder: Path, first_seed: int, count: int, side_px: int, workers: int) -> Pool:
    """Draw the pictures of seeds first_seed to first_seed + count - 1, or open them where they were drawn before."""
    stem = folder / f"{side_px}px-{first_seed}-{count}"
    images_path, truth_path = stem.with_suffix(".npy"), stem.with_suffix(".npz")
    if not truth_path.exists():
        _draw_pool(images_path, truth_path, first_seed, count, side_px, workers)
    truth = np.load(truth_path)
    return Pool(np.load(images_path, mmap_mode="r"), truth["objects"], truth["starts"])


def batches(pool: Pool, size: int, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, Truth]]:
    """Endless augmented batches: images float [B, 3, S, S] in 0..1, channels last, and their ground truth."""
    while True:
        order = rng.permutation(len(pool.images_rgb))
        for start in range(0, len(order) - size + 1, size):
            yield _batch(pool, np.sort(order[start : start + size]), rng)


def _draw_pool(images_path: Path, truth_path: Path, first_seed: int, count: int, side_px: int, workers: int) -> None:
    images_path.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, side_px, side_px, 3)
    images = np.lib.format.open_memmap(images_path, mode="w+", dtype=np.uint8, shape=shape)
    objects, starts = [], [0]
    jobs = [(first_seed + index, side_px) for index in range(count)]
    with ProcessPoolExecutor(workers) as executor:
        drawn = executor.map(_draw, jobs, chunksize=32)
        for index, (image, rows) in enumerate(track(drawn, f"Drawing {side_px} px pictures", total=count)):
            images[index] = image
            objects.append(rows)
            starts.append(starts[-1] + len(rows))
    images.flush()
    np.savez(truth_path, objects=np.concatenate(objects), starts=np.array(starts, dtype=np.int64))


def _draw(job: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    seed, side_px = job
    picture = draw_picture(seed, (side_px, side_px))
    rows = np.concatenate([picture.boxes_xyxy, picture.class_ids[:, None].astype(np.float32)], axis=1)
    return picture.image_rgb, rows


def _batch(pool: Pool, indices: NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, Truth]:
    side = pool.images_rgb.shape[1]
    images = np.empty((len(indices), side, side, 3), dtype=np.uint8)
    rows = []
    for place, index in enumerate(indices):
        objects = pool.objects[pool.starts[index] : pool.starts[index + 1]].copy()
        turned, boxes = _turn(pool.images_rgb[index], objects[:, :4], rng)
        images[place] = turned[..., rng.permutation(3)]
        objects[:, :4] = boxes
        rows.append(objects)
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    return _relight(scaled, rng), _padded(rows)


def _turn(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    side = np.float32(image.shape[0])
    if rng.random() < 0.5:
        image, boxes = image.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    if rng.random() < 0.5:
        image, boxes = image[:, ::-1], np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < 0.5:
        image, boxes = image[::-1], np.stack([boxes[:, 0], side - boxes[:, 3], boxes[:, 2], side - boxes[:, 1]], 1)
    return image, boxes


def _relight(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    count = len(images)
    sign = torch.from_numpy(rng.choice((-1.0, 1.0), (count, 1, 1, 1)).astype(np.float32))
    gain = torch.from_numpy(rng.uniform(0.75, 1.25, (count, 3, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.08, 0.08, (count, 3, 1, 1)).astype(np.float32))
    return images.sub_(0.5).mul_(sign * gain).add_(shift + 0.5).clamp_(0, 1)


def _padded(rows: list[NDArray[np.float32]]) -> Truth:
    most = max(len(objects) for objects in rows)
    boxes = torch.zeros(len(rows), most, 4)
    class_ids = torch.zeros(len(rows), most, dtype=torch.int64)
    is_real = torch.zeros(len(rows), most, dtype=torch.bool)
    for index, objects in enumerate(rows):
        boxes[index, : len(objects)] = torch.from_numpy(objects[:, :4])
        class_ids[index, : len(objects)] = torch.from_numpy(objects[:, 4]).long()
        is_real[index, : len(objects)] = True
    return Truth(boxes, class_ids, is_real)
