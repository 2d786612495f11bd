"""Models that are served as they came: their picture as they want it, their own outputs made candidates."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookonce.card import RawHead, Tensor
from lookonce.errors import BackendContractBroken
from lookonce.inference.port import Call, Candidates
from lookonce.vision import heads
from lookonce.vision.heads import Decode, HeadSpec

DECODES: Final[dict[str, Decode]] = {"yolov8": heads.columns, "end2end": heads.finished_rows}
KINDS: Final = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32}


def picture_of(call: Call, raw: RawHead) -> NDArray[Any]:
    """RGB in 0..1, [N,3,H,W]."""
    share = call.images.transpose(0, 3, 1, 2) / np.float32(255)
    return np.ascontiguousarray(share, KINDS[raw.picture.type])


def candidates_of(outputs: Sequence[NDArray[Any]], call: Call) -> Candidates:
    card = call.card
    if card.layout not in DECODES:
        raise BackendContractBroken(f"model {card.name} has the raw layout {card.layout}, which is not decoded here.")
    for output, tensor in zip(outputs, card.output_tensors, strict=True):
        _check_shape(output, tensor, call)
    spec = HeadSpec(card.geometry.width, card.geometry.height, len(card.labels))
    return heads.top_candidates(DECODES[card.layout](outputs, spec), card.candidates)


def _check_shape(output: NDArray[Any], tensor: Tensor, call: Call) -> None:
    free, *sides = tensor.shape
    wanted = len(call.images) if free == -1 else free, *sides
    if output.shape != wanted:
        raise BackendContractBroken(
            f"model {call.card.name} version {call.card.version} answered {tensor.name} {list(output.shape)} "
            f"instead of {list(wanted)}; import it again."
        )
