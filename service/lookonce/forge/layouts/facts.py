"""What is known of a model before its layout is named: everything recognition may look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lookonce.forge.layouts.rows import Shape
from lookonce.vision.heads import HeadSpec, strides_of


@dataclass(frozen=True, slots=True)
class Facts:
    """`shapes` are the outputs' for one picture; `labels` is 0 where nobody said how many classes there are.

    `varies` where another picture, or this one, gave another number of rows, or none.
    """

    width: int
    height: int
    names: Sequence[str]
    shapes: Sequence[Shape]
    input_names: Sequence[str]
    metadata: Mapping[str, str]
    operators: frozenset[str]
    weights: Sequence[str]
    labels: int = 0
    varies: bool = False
    objectness_is_one: bool = False
    whole_classes: bool = False
    box_coding: int | None = None

    def is_points(self, anchors: int) -> bool:
        return bool(strides_of(HeadSpec(self.width, self.height, 0), anchors))

    def is_anchored_points(self, anchors: int) -> bool:
        """Three anchors on each point."""
        return anchors % 3 == 0 and self.is_points(anchors // 3)

    def is_grid(self, rows: int, cols: int) -> bool:
        """A grid that divides the input by a power of two."""
        if not rows or not cols or self.height % rows or self.width % cols:
            return False
        stride = self.height // rows
        return stride == self.width // cols and stride & (stride - 1) == 0

    @property
    def turns(self) -> bool:
        """Whether sines and cosines are taken, as oriented boxes need them."""
        return {"Sin", "Cos"} <= self.operators

    def has_weight(self, part: str) -> bool:
        return any(part in name for name in self.weights)

    def says(self, key: str, value: str) -> bool:
        return value.lower() in self.metadata.get(key, "").lower()
