"""The bodies of the REST API as its OpenAPI document describes them. No request goes through these: a test compares."""

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, RootModel

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Body):
    """RFC 9457 problem details; `code` is stable."""

    type: str = Field(examples=["urn:lookonce:invalid-image"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(ge=400, le=599, examples=[422])
    detail: str = Field(examples=["the image is cut off: its pixels end early; send all of it."])
    code: str = Field(examples=["invalid-image"])
    request_id: str = Field(examples=["5f2d9c81e07ab364"])


class Failed(Body):
    """What is said of one bad image among several."""

    error: Problem


class Size(Body):
    width: int = Field(ge=1, examples=[640])
    height: int = Field(ge=1, examples=[480])


class Box(Body):
    """Corners in pixels of the image as it was sent, or in shares of its sides where `normalized` was asked for."""

    x1: float = Field(examples=[104.27])
    y1: float = Field(examples=[52.5])
    x2: float = Field(examples=[311.04])
    y2: float = Field(examples=[236.91])


class Detection(Body):
    box: Box
    confidence: Share = Field(examples=[0.9126])
    class_id: Count = Field(examples=[2])
    label: str = Field(examples=["triangle"])


class ModelUsed(Body):
    name: str = Field(examples=["shapes"])
    version: int = Field(ge=1, examples=[1])
    digest: str = Field(description="SHA-256 of the model file that is served.", pattern="^[0-9a-f]{64}$")


class Timings(Body):
    decode: Milliseconds
    letterbox: Milliseconds
    inference: Milliseconds
    nms: Milliseconds
    total: Milliseconds


class Result(Body):
    image: Size
    detections: list[Detection]


class Answered(Body):
    request_id: str
    model: ModelUsed
    timings_ms: Timings


class One(Answered, Result):
    """One image."""


class Several(Answered):
    """Several images, in their order."""

    results: list[Result | Failed]


class CocoRow(Body):
    image_id: Count
    category_id: Count
    bbox: tuple[float, float, float, float] = Field(description="x, y of the upper left corner, width, height.")
    score: Share


class CocoFailed(Failed):
    image_id: Count


class Corners(Body):
    xmin: float
    ymin: float
    xmax: float
    ymax: float


class HuggingFaceRow(Body):
    score: Share
    label: str
    box: Corners


class UltralyticsRow(Body):
    name: str
    class_: Count = Field(alias="class")
    confidence: Share
    box: Box


class RoboflowRow(Body):
    x: float
    y: float
    width: float
    height: float
    confidence: Share
    class_: str = Field(alias="class")
    class_id: Count
    detection_id: str


class RoboflowResult(Body):
    inference_id: str
    time: float = Field(ge=0, description="Seconds.")
    image: Size
    predictions: list[RoboflowRow]


Coco: TypeAlias = list[CocoRow | CocoFailed]
HuggingFace: TypeAlias = list[HuggingFaceRow] | list[list[HuggingFaceRow] | Failed]
Ultralytics: TypeAlias = list[UltralyticsRow] | list[list[UltralyticsRow] | Failed]
Roboflow: TypeAlias = RoboflowResult | list[RoboflowResult | Failed]


class Detections(RootModel[One | Several | Coco | HuggingFace | Ultralytics | Roboflow]):
    """By `format`: ours, where several images stand under `results`; or another service's, where they are a list."""


class Thresholds(Body):
    confidence: Share
    iou: Share


class Version(Body):
    version: int = Field(ge=1)
    digest: str = Field(description="SHA-256 of the model file that is served.", pattern="^[0-9a-f]{64}$")
    size: Size = Field(description="What pictures are brought to before the model sees them.")
    labels: list[str] = Field(description="By class id.")
    thresholds: Thresholds = Field(description="Where a request names none.")
    precision: str = Field(examples=["fp16"])
    max_batch: int = Field(ge=1)
    created: str


class Model(Body):
    name: str = Field(examples=["shapes"])
    default_version: int = Field(ge=1)
    versions: list[Version]


class Models(Body):
    default: str | None = Field(description="The model of /v1/detect.")
    models: list[Model]


class Live(Body):
    status: str = Field(examples=["live"])


class Ready(Body):
    status: str = Field(examples=["ready"])
    reasons: dict[str, str] = Field(examples=[{"triton": "it cannot be reached at 127.0.0.1:8001; start it."}])


PUBLISHED = (Problem, Detections, Models, Model, Live, Ready)
