"""The port: everything the gateway may ask of an inference server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookonce.card import ROW, Card
from lookonce.errors import BackendContractBroken, DeadlineExceeded, ImageTooLarge, InvalidOptions, UnknownVersion

Images: TypeAlias = NDArray[np.uint8]
Candidates: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A name, the versions that can be called, and the one that is called when none is named."""

    name: str
    default_version: int
    cards: Mapping[int, Card]

    def card(self, version: int | None = None) -> Card:
        wanted = self.default_version if version is None else version
        if wanted not in self.cards:
            served = ", ".join(map(str, sorted(self.cards)))
            raise UnknownVersion(f"model {self.name} has no version {wanted} here; it serves {served}.")
        return self.cards[wanted]


@dataclass(frozen=True, slots=True)
class Call:
    """One batched tensor for one version: `images` UINT8 [N,H,W,3], RGB, laid out as its card says."""

    card: Card
    images: Images
    timeout_s: float
    priority: int = 2
    request_id: str = ""
    traceparent: str = ""


class Canvas:
    """`images` [N,H,W,3] with rubbish on them, lent until everybody who holds the canvas has let it go.

    Whoever asked for it holds it, and each thread that draws on it: that may be left behind by its caller.
    """

    __slots__ = ("_give_back", "_holders", "images")

    def __init__(self, images: Images, give_back: Callable[[], None] | None = None) -> None:
        self.images, self._give_back, self._holders = images, give_back, 1

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if not self._holders and self._give_back is not None:
            self._give_back()

    def __enter__(self) -> Images:
        return self.images

    def __exit__(self, *_raised: object) -> None:
        self.let_go()


class Inference(Protocol):
    async def names(self) -> tuple[str, ...]:
        """The models that are ready, in alphabetical order. Raises BackendUnavailable."""

    async def served(self, name: str) -> ServedModel:
        """The model as it is served now. Raises UnknownModel, BackendUnavailable or BackendContractBroken."""

    def canvas(self, card: Card, images: int) -> Canvas:
        """Where pictures are laid for `infer`; a call may be of any part of it, or of images that lie elsewhere."""

    async def infer(self, call: Call) -> Candidates:
        """FP32 [N,K,6] rows `x1 y1 x2 y2 score class_id`, sorted by score."""

    async def close(self) -> None: ...


def fresh_canvas(card: Card, images: int) -> Canvas:
    """A canvas in this process's own memory."""
    return Canvas(np.empty((images, card.geometry.height, card.geometry.width, 3), np.uint8))


def sendable(call: Call) -> Call:
    """The call itself, once its batch fits the model and there is time left for it."""
    images, card = len(call.images), call.card
    if images == 0:
        raise InvalidOptions(f"there is no image to look at; send model {card.name} at least one.")
    if images > card.max_batch:
        raise ImageTooLarge(
            f"model {card.name} takes {card.max_batch} images at once and was sent {images}; split them."
        )
    if call.timeout_s <= 0:
        raise DeadlineExceeded(f"the time was over before model {card.name} was asked; allow more.")
    return call


def checked(candidates: Candidates, call: Call) -> Candidates:
    """The answer itself, once it is known to keep the contract."""
    wanted = len(call.images), call.card.candidates, ROW
    if candidates.shape != wanted or candidates.dtype != np.float32:
        raise BackendContractBroken(
            f"model {call.card.name} version {call.card.version} answered {candidates.dtype} "
            f"{list(candidates.shape)} instead of float32 {list(wanted)}; import it again with `lookonce model import`."
        )
    return candidates
