import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectRequest(_message.Message):
    __slots__ = ("images", "model", "version", "options")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    model: str
    version: int
    options: Options
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class Options(_message.Message):
    __slots__ = ("confidence", "iou", "classes", "max_detections", "class_agnostic", "soft", "normalized")
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    IOU_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    CLASS_AGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    NORMALIZED_FIELD_NUMBER: _ClassVar[int]
    confidence: float
    iou: float
    classes: _containers.RepeatedScalarFieldContainer[str]
    max_detections: int
    class_agnostic: bool
    soft: bool
    normalized: bool
    def __init__(self, confidence: _Optional[float] = ..., iou: _Optional[float] = ..., classes: _Optional[_Iterable[str]] = ..., max_detections: _Optional[int] = ..., class_agnostic: _Optional[bool] = ..., soft: _Optional[bool] = ..., normalized: _Optional[bool] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("request_id", "model", "results", "timings_ms")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: ModelUsed
    results: _containers.RepeatedCompositeFieldContainer[Result]
    timings_ms: Timings
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[ModelUsed, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., timings_ms: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class ModelUsed(_message.Message):
    __slots__ = ("name", "version", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("image", "detections", "error")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    image: Size
    detections: _containers.RepeatedCompositeFieldContainer[DetectedObject]
    error: Error
    def __init__(self, image: _Optional[_Union[Size, _Mapping]] = ..., detections: _Optional[_Iterable[_Union[DetectedObject, _Mapping]]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Size(_message.Message):
    __slots__ = ("width", "height")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class DetectedObject(_message.Message):
    __slots__ = ("box", "confidence", "class_id", "label")
    BOX_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    box: Box
    confidence: float
    class_id: int
    label: str
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., confidence: _Optional[float] = ..., class_id: _Optional[int] = ..., label: _Optional[str] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x1", "y1", "x2", "y2")
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    X2_FIELD_NUMBER: _ClassVar[int]
    Y2_FIELD_NUMBER: _ClassVar[int]
    x1: float
    y1: float
    x2: float
    y2: float
    def __init__(self, x1: _Optional[float] = ..., y1: _Optional[float] = ..., x2: _Optional[float] = ..., y2: _Optional[float] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("decode", "letterbox", "inference", "nms", "total")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    LETTERBOX_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    NMS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    decode: float
    letterbox: float
    inference: float
    nms: float
    total: float
    def __init__(self, decode: _Optional[float] = ..., letterbox: _Optional[float] = ..., inference: _Optional[float] = ..., nms: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...

class DetectStreamRequest(_message.Message):
    __slots__ = ("setup", "frame")
    SETUP_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    setup: StreamSetup
    frame: Frame
    def __init__(self, setup: _Optional[_Union[StreamSetup, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class StreamSetup(_message.Message):
    __slots__ = ("model", "version", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    options: Options
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("image", "id", "captured_at")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    id: str
    captured_at: _timestamp_pb2.Timestamp
    def __init__(self, image: _Optional[bytes] = ..., id: _Optional[str] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DetectStreamResponse(_message.Message):
    __slots__ = ("id", "captured_at", "result", "model", "timings_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    captured_at: _timestamp_pb2.Timestamp
    result: Result
    model: ModelUsed
    timings_ms: Timings
    def __init__(self, id: _Optional[str] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., model: _Optional[_Union[ModelUsed, _Mapping]] = ..., timings_ms: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("default", "models")
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    default: str
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, default: _Optional[str] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "default_version", "versions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    default_version: int
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    def __init__(self, name: _Optional[str] = ..., default_version: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("version", "digest", "size", "labels", "thresholds", "precision", "max_batch", "created")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    version: int
    digest: str
    size: Size
    labels: _containers.RepeatedScalarFieldContainer[str]
    thresholds: Thresholds
    precision: str
    max_batch: int
    created: str
    def __init__(self, version: _Optional[int] = ..., digest: _Optional[str] = ..., size: _Optional[_Union[Size, _Mapping]] = ..., labels: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ..., precision: _Optional[str] = ..., max_batch: _Optional[int] = ..., created: _Optional[str] = ...) -> None: ...

class Thresholds(_message.Message):
    __slots__ = ("confidence", "iou")
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    IOU_FIELD_NUMBER: _ClassVar[int]
    confidence: float
    iou: float
    def __init__(self, confidence: _Optional[float] = ..., iou: _Optional[float] = ...) -> None: ...
