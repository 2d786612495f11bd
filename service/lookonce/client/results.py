"""What comes back: detections, or why there are none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """Root of what the client raises."""


class Unreachable(ClientError):
    """Nobody answered at that address, or not in time."""


class Refused(ClientError):
    """The service answered with a problem; `code` is stable, `detail` says what to do."""

    def __init__(self, status: int, code: str, detail: str, request_id: str = "") -> None:
        super().__init__(f"{detail} ({code}{f', request {request_id}' if request_id else ''})")
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id


@dataclass(frozen=True, slots=True)
class Box:
    """Corners in the picture's pixels, or in shares of its sides where that was asked for."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Detection:
    label: str
    class_id: int
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Detections:
    """One picture's detections, best first; `json` is the answer as it came."""

    size_wh: tuple[int, int]
    found: tuple[Detection, ...]
    json: Mapping[str, Any]

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def detections_from(answer: Mapping[str, Any]) -> Detections:
    image = answer["image"]
    found = tuple(
        Detection(each["label"], each["class_id"], each["confidence"], Box(**each["box"]))
        for each in answer["detections"]
    )
    return Detections((image["width"], image["height"]), found, answer)


def refusal_from(status: int, problem: Mapping[str, Any]) -> Refused:
    detail = str(problem.get("detail", "the service gave no reason."))
    return Refused(status, str(problem.get("code", "unknown")), detail, str(problem.get("request_id", "")))
