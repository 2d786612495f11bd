"""What clients of Roboflow's inference server send: the query of its v0 route and the JSON of its v1 routes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, Field

from lookonce.errors import ServiceError, UnknownModel, UnknownVersion
from lookonce.pipeline.request import Options
from lookonce.transports.compat.exchange import Share
from lookonce.transports.options import MOST_CLASSES
from lookonce.transports.posted.envelope import Link, Sent, base64_to_bytes

_VERSION: Final = re.compile(r"\d{1,9}", re.ASCII)


def _share(value: float) -> float:
    """The v0 route takes percentages from 1 on, and shares below."""
    return value / 100 if value >= 1 else value


Percentage = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), AfterValidator(_share)]
Most = Annotated[int, Field(ge=1, le=1000)]
Word: TypeAlias = Literal["best", "default"]
"""Thresholds that go with the model."""


class Query(BaseModel):
    """POST /{dataset}/{version}: the picture is the body, or `image` says where it is."""

    image: str | None = None
    format: Literal["json", "image", "image_and_json"] = "json"
    confidence: Percentage | Word | None = None
    overlap: Percentage | None = None
    max_detections: Most = 300
    class_agnostic_nms: bool = False
    classes: str = ""

    @property
    def options(self) -> Options:
        return Options(
            confidence=None if isinstance(self.confidence, str) else self.confidence,
            iou=self.overlap,
            classes=tuple(name.strip() for name in self.classes.split(",") if name.strip()),
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic_nms,
        )


class Image(BaseModel):
    type: Literal["base64", "url"]
    value: str


class Body(BaseModel):
    """POST /infer/object_detection."""

    model_id: str
    image: Image | list[Image]
    api_key: str | None = None
    confidence: Share | Word | None = None
    iou_threshold: Share | None = None
    max_detections: Most = 300
    class_agnostic_nms: bool = False
    class_filter: Annotated[list[str], Field(max_length=MOST_CLASSES)] | None = None
    visualize_predictions: bool = False

    @property
    def options(self) -> Options:
        return Options(
            confidence=None if isinstance(self.confidence, str) else self.confidence,
            iou=self.iou_threshold,
            classes=tuple(self.class_filter or ()),
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic_nms,
        )

    @property
    def images(self) -> list[Image]:
        return self.image if isinstance(self.image, list) else [self.image]

    def pictures(self, max_bytes: int) -> Iterator[Sent]:
        """One that is no picture stands as its error."""
        for place, image in enumerate(self.images):
            yield _sent(image, f"image.{place}.value" if isinstance(self.image, list) else "image.value", max_bytes)


def _sent(image: Image, place: str, max_bytes: int) -> Sent:
    if image.type == "url":
        return Link(image.value, place)
    try:
        return base64_to_bytes(image.value, max_bytes)
    except ServiceError as error:
        return type(error)(f"{place}: {error}")


class Addition(BaseModel):
    """POST /model/add."""

    model_id: str
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class ModelId:
    """`shapes/1`, or `shapes` for the version that is served by default."""

    name: str
    version: int | None

    @classmethod
    def read(cls, text: str) -> "ModelId":
        name, _, version = text.partition("/")
        if not name:
            raise UnknownModel("the request names no model; name one as MODEL/VERSION.")
        if version and not _VERSION.fullmatch(version):
            raise UnknownVersion(f"model {name[:80]} has no version {version[:80]} here; a version is a whole number.")
        return cls(name, int(version) if version else None)
