"""What comes back: detections, or why there are none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

EDGES: Final = ("x1", "y1", "x2", "y2")


class ClientError(Exception):
    """Root of what the client raises."""


class Unreachable(ClientError):
    """Nobody answered at that address, or not in time."""


class Misunderstood(ClientError):
    """What came back is not an answer of ours: something else is at that address, or between."""


class BadCall(ClientError, ValueError):
    """The call cannot be made as it was meant; nothing was sent."""


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
    """One picture's detections, best first; `took_ms` is the service's own time, `json` the answer as it came."""

    size_wh: tuple[int, int]
    found: tuple[Detection, ...]
    took_ms: float
    json: Mapping[str, Any]

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def detections_from(answer: Mapping[str, Any]) -> Detections:
    width, height = (int(answer["image"][side]) for side in ("width", "height"))
    found = tuple(map(_detection, answer["detections"]))
    return Detections((width, height), found, float(answer["timings_ms"]["total"]), answer)


def refusal_from(status: int, problem: Mapping[str, Any]) -> Refused:
    code, detail = problem.get("code") or "unknown", problem.get("detail") or "the service gave no reason."
    return Refused(status, str(code), str(detail), str(problem.get("request_id") or ""))


def _detection(found: Mapping[str, Any]) -> Detection:
    box = Box(*(float(found["box"][edge]) for edge in EDGES))
    return Detection(str(found["label"]), int(found["class_id"]), float(found["confidence"]), box)
