"""REST, over one pool of connections."""

import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import httpx

from lookonce.client.results import Detections, Refused, Unreachable, detections_from, refusal_from

Image: TypeAlias = bytes | str | PathLike[str]
"""A picture as a file holds it, or the path of one."""
Files: TypeAlias = list[tuple[str, tuple[str, bytes]]]
DEFAULT_URL: Final = "http://127.0.0.1:8080"
TRY_LATER: Final = frozenset({429, 503})
BAD_IMAGE: Final = frozenset({413, 415, 422})
LONGEST_WAIT_S: Final = 10.0


class Client:
    """A service at `url`. `tries`: how often one that is too busy is asked, waiting as long as it says each time."""

    def __init__(
        self, url: str = DEFAULT_URL, *, key: str | None = None, timeout_s: float = 30, tries: int = 3
    ) -> None:
        headers = {"X-API-Key": key} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._tries = tries

    def detect(
        self, image: Image, *, model: str | None = None, version: int | None = None, **options: object
    ) -> Detections:
        """The objects in one picture. Options are those of the service: `confidence=0.4, classes=["star"]`."""
        return detections_from(self._post(_path(model, version), options, content=_bytes_of(image)))

    def detect_many(
        self, images: Sequence[Image], *, model: str | None = None, version: int | None = None, **options: object
    ) -> list[Detections | Refused]:
        """The objects in several pictures, in their order; a bad one is what was wrong with it."""
        files = [("file", (str(place), _bytes_of(image))) for place, image in enumerate(images)]
        try:
            answer = self._post(_path(model, version), options, files=files)
        except Refused as refused:
            if len(images) == 1 and refused.status in BAD_IMAGE:
                return [refused]
            raise
        shared = {key: answer[key] for key in ("request_id", "model", "timings_ms")}
        return [_result(each, shared) for each in answer.get("results", [answer])]

    def models(self) -> list[dict[str, Any]]:
        return list(self._answered(self._http.build_request("GET", "/v1/models"))["models"])

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post(
        self, path: str, options: Mapping[str, object], *, content: bytes | None = None, files: Files | None = None
    ) -> dict[str, Any]:
        given = {name: _text(value) for name, value in options.items()}
        return self._answered(self._http.build_request("POST", path, params=given, content=content, files=files))

    def _answered(self, request: httpx.Request) -> dict[str, Any]:
        for left in reversed(range(self._tries)):
            answer = self._sent(request)
            if answer.is_success:
                return dict(answer.json())
            if answer.status_code not in TRY_LATER or not left:
                break
            time.sleep(min(LONGEST_WAIT_S, float(answer.headers.get("Retry-After", 1))))
        raise refusal_from(answer.status_code, _problem(answer))

    def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(
                f"no answer from {self._http.base_url}: {reason}; is the service running there?"
            ) from error


def _path(model: str | None, version: int | None) -> str:
    if version is not None and model is None:
        raise ValueError("a version belongs to a model; name the model too.")
    of_model = f"/models/{model}" if model else ""
    of_version = f"/versions/{version}" if version is not None else ""
    return f"/v1{of_model}{of_version}/detect"


def _bytes_of(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _result(each: Mapping[str, Any], shared: Mapping[str, Any]) -> Detections | Refused:
    if "error" in each:
        return refusal_from(int(each["error"].get("status", 0)), each["error"])
    return detections_from({**shared, **each})


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        return dict(answer.json())
    except ValueError:
        return {"detail": f"the answer was {answer.status_code} {answer.reason_phrase} and no problem document."}
