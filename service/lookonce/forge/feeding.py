"""What a source model's inputs are, and how a UINT8 batch on our contract becomes what it wants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lookonce.errors import LayoutUnknown, ModelRefused
from lookonce.forge.layouts.table import Feeding
from lookonce.forge.source import Source, Tensor, shape_text

SIZES_INPUT = "orig_target_sizes"
SMALLEST_SIDE, LARGEST_SIDE, MOST_PIXELS = 32, 8192, 2**26
KINDS = ("float32", "float16", "uint8")


@dataclass(frozen=True, slots=True)
class Picture:
    """The input that takes the picture. `batch` is None where it is free."""

    name: str
    kind: str
    channels_last: bool
    batch: int | None
    width: int | None
    height: int | None


def picture_input(source: Source) -> Picture:
    pictures = [tensor for tensor in source.inputs if len(tensor.shape) == 4]
    if len(pictures) != 1:
        taken = ", ".join(map(str, source.inputs)) or "nothing"
        raise LayoutUnknown(f"{source.path} is no detector we know: it takes {taken}, not one picture [N,3,H,W].")
    _check_others(source, pictures[0])
    return _picture(source, pictures[0])


def fed(images: NDArray[np.uint8], picture: Picture, feeding: Feeding) -> NDArray[Any]:
    """UINT8 [N,H,W,3] RGB as the model wants it: the reference that the graph's front is held to."""
    values: NDArray[Any] = images.astype(np.float32)
    if feeding.colour == "bgr":
        values = values[..., ::-1]
    if any(feeding.mean):
        values = values - np.array(feeding.mean, np.float32)
    if feeding.std != (1, 1, 1):
        values = values / np.array(feeding.std, np.float32)
    if not picture.channels_last:
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, dtype=picture.kind)


def sizes(count: int, width: int, height: int) -> NDArray[np.int64]:
    """What `orig_target_sizes` is fed, so that boxes come back in network-input pixels."""
    return np.tile(np.array([[width, height]], np.int64), (count, 1))


def resized(source: Source, picture: Picture, size_wh: tuple[int, int] | None) -> tuple[onnx.ModelProto, int, int]:
    """The model with its picture's sides written down, and what they are."""
    width, height = _chosen_size(source, picture, size_wh)
    _check_sides(source, picture.batch or 1, (width, height))
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    value = next(entry for entry in model.graph.input if entry.name == picture.name)
    sides = value.type.tensor_type.shape.dim
    sides[1 if picture.channels_last else 2].dim_value = height
    sides[2 if picture.channels_last else 3].dim_value = width
    return model, width, height


def _check_others(source: Source, picture: Tensor) -> None:
    others = [tensor for tensor in source.inputs if tensor is not picture]
    strange = [tensor for tensor in others if tensor.name != SIZES_INPUT]
    if strange:
        names = ", ".join(map(str, strange))
        raise LayoutUnknown(f"{source.path} also asks for {names}; export it with the picture as its only input.")


def _picture(source: Source, tensor: Tensor) -> Picture:
    batch, *sides = tensor.shape
    channels_last = sides[2] == 3 and sides[0] != 3
    if 3 not in (sides[0], sides[2]):
        raise ModelRefused(
            f"{source.path} takes {shape_text(tensor.shape)}, not a picture of 3 colours; export it for RGB or BGR."
        )
    if tensor.kind not in KINDS:
        raise ModelRefused(f"{source.path} takes {tensor.kind} pictures; export it with {' or '.join(KINDS)}.")
    height, width = sides[:2] if channels_last else sides[1:]
    return Picture(tensor.name, tensor.kind, channels_last, batch, width, height)


def _chosen_size(source: Source, picture: Picture, asked: tuple[int, int] | None) -> tuple[int, int]:
    fixed = picture.width, picture.height
    if fixed[0] is not None and fixed[1] is not None:
        if asked not in (None, fixed):
            raise ModelRefused(
                f"{source.path} was exported for {_by(fixed)}, not {_by(asked)}; leave --size out or export again."
            )
        return fixed[0], fixed[1]
    chosen = asked or _size_said(source)
    if chosen is None:
        raise LayoutUnknown(f"{source.path} takes pictures of any size and says none; choose one with --size WxH.")
    if any(want not in (None, have) for want, have in zip(fixed, chosen, strict=True)):
        raise ModelRefused(f"{source.path} cannot take {_by(chosen)}; its picture is {shape_text(fixed)}.")
    return chosen


def _check_sides(source: Source, batch: int, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    if min(size_wh) < SMALLEST_SIDE or max(size_wh) > LARGEST_SIDE or batch * width * height > MOST_PIXELS:
        many = f"{batch} pictures" if batch > 1 else "a picture"
        raise ModelRefused(
            f"{source.path} takes {many} of {_by(size_wh)}; sides from {SMALLEST_SIDE} to {LARGEST_SIDE} "
            f"and {MOST_PIXELS >> 20} megapixels in all are served here: export it, or ask with --size, for others."
        )


def _by(size_wh: Sequence[int | None] | None) -> str:
    return "x".join(map(str, size_wh or ()))


def _size_said(source: Source) -> tuple[int, int] | None:
    """The size in the metadata, which is written height first."""
    numbers = [
        part for part in source.metadata.get("imgsz", "").strip("[]() ").replace(",", " ").split() if part.isdecimal()
    ]
    if not numbers:
        return None
    return int(numbers[-1]), int(numbers[0])
