"""REST, over one pool of connections."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from lookonce.client.asking import Image, address_from, bytes_of, key_from, path_of, query_of
from lookonce.client.results import (
    BadCall,
    Detections,
    Misunderstood,
    Refused,
    Unreachable,
    detections_from,
    refusal_from,
)

T = TypeVar("T")
DEFAULT_URL: Final = "http://127.0.0.1:8080"
TRY_LATER: Final = frozenset({429, 503})
BAD_IMAGE: Final = frozenset({"invalid-image", "unsupported-media", "image-too-large"})
LONGEST_WAIT_S: Final = 10.0


class Client:
    """A service at `url`. `tries`: how often one that is too busy is asked, waiting as long as it says each time."""

    def __init__(
        self, url: str = DEFAULT_URL, *, key: str | None = None, timeout_s: float = 30, tries: int = 3
    ) -> None:
        if tries < 1 or not timeout_s > 0:
            raise BadCall("tries must be at least 1 and timeout_s above 0.")
        address, said = address_from(url), key_from(key)
        self._place = f"{address.scheme}://{address.netloc.decode('ascii')}"
        self._tries = tries
        with self._in_words():
            headers = {"X-API-Key": said} if said else {}
            self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout_s)

    def detect(
        self, image: Image, *, model: str | None = None, version: int | None = None, **options: object
    ) -> Detections:
        """The objects in one picture. Options are those of the service: `confidence=0.4, classes=["star"]`."""
        answer = self._asked("POST", path_of(model, version), params=query_of(options), content=bytes_of(image))
        return self._read(answer, detections_from)

    def detect_many(
        self, images: Sequence[Image], *, model: str | None = None, version: int | None = None, **options: object
    ) -> list[Detections | Refused]:
        """The objects in several pictures, in their order; a bad one is what was wrong with it."""
        files = [("file", (str(place), bytes_of(image))) for place, image in enumerate(images)]
        try:
            answer = self._asked("POST", path_of(model, version), params=query_of(options), files=files)
        except Refused as refused:
            if len(images) == 1 and refused.code in BAD_IMAGE:
                return [refused]
            raise
        return self._read(answer, lambda told: _results(told, len(images)))

    def models(self) -> list[dict[str, Any]]:
        return self._read(self._asked("GET", "/v1/models"), lambda told: [dict(model) for model in told["models"]])

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _asked(self, method: str, path: str, **parts: Any) -> httpx.Response:  # noqa: ANN401  as httpx takes them
        """The answer of a service that took the request. Raises ClientError in every other case."""
        with self._in_words():
            request = self._http.build_request(method, path, **parts)
            answer = self._http.send(request)
            for _ in range(self._tries - 1):
                if answer.status_code not in TRY_LATER:
                    break
                time.sleep(_wait_s(answer.headers))
                answer = self._http.send(request)
        if answer.is_success:
            return answer
        raise refusal_from(answer.status_code, _problem(answer))

    def _read(self, answer: httpx.Response, read: Callable[[Any], T]) -> T:
        try:
            return read(_json(answer))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Misunderstood(
                f"what answered at {self._place} said {answer.status_code} and nothing that this client understands; "
                "is it LookOnce, and of the client's version?"
            ) from error

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self._place}: {reason}; is the service running there?") from error
        except httpx.HTTPError as error:
            raise Misunderstood(f"the answer from {self._place} cannot be read: {error}.") from error
        except (httpx.InvalidURL, ValueError, OSError) as error:
            raise BadCall(f"{self._place} cannot be asked that way: {error}.") from error


def _results(told: Mapping[str, Any], count: int) -> list[Detections | Refused]:
    shared = {key: told[key] for key in ("request_id", "model", "timings_ms")}
    results = [_result(each, shared) for each in told.get("results", [told])]
    if len(results) != count:
        raise ValueError
    return results


def _result(each: Mapping[str, Any], shared: Mapping[str, Any]) -> Detections | Refused:
    if "error" in each:
        return refusal_from(int(each["error"].get("status", 0)), each["error"])
    return detections_from({**shared, **each})


def _wait_s(headers: Mapping[str, str]) -> float:
    """Something in between may name a date or nonsense instead of seconds: then one."""
    try:
        return max(0.0, min(LONGEST_WAIT_S, float(headers.get("Retry-After", 1))))
    except ValueError:
        return 1.0


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        told = _json(answer)
    except ValueError:
        told = None
    if isinstance(told, dict):
        return told
    return {"detail": f"the answer was {answer.status_code} {answer.reason_phrase} and no problem document."}


def _json(answer: httpx.Response) -> Any:  # noqa: ANN401
    """Raises ValueError: a UnicodeDecodeError is one, and so is JSON that goes too deep."""
    try:
        return answer.json()
    except RecursionError as error:
        raise ValueError from error
