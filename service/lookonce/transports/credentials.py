"""Where a caller's key may stand: in a header, in gRPC metadata, and on compatible routes in the URL."""

from collections.abc import Iterable, Mapping
from typing import Final

from lookonce.errors import Unauthenticated

BEARER, API_KEY, IN_QUERY = "authorization", "x-api-key", "api_key"
TWO_KEYS: Final = "the request carries two keys that differ; send one."


def key_from_headers(headers: Mapping[str, str]) -> str | None:
    """`Authorization: Bearer K` or `X-API-Key: K`; names are looked up in lower case. No key is None."""
    return the_one_key(_bearer(headers.get(BEARER, "")), headers.get(API_KEY))


def key_from_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The same names in gRPC metadata, where each may come more than once."""
    texts = [(name, value) for name, value in metadata if isinstance(value, str)]
    bearers = (_bearer(value) for name, value in texts if name == BEARER)
    return the_one_key(*bearers, *(value for name, value in texts if name == API_KEY))


def key_from_query(query: Mapping[str, str]) -> str | None:
    """`?api_key=K`: for compatible routes alone, since a URL is seen by many."""
    return the_one_key(query.get(IN_QUERY))


def the_one_key(*keys: str | None) -> str | None:
    """The key that all of these places agree on; an empty place says nothing."""
    given = {key.strip() for key in keys if key and key.strip()}
    if len(given) > 1:
        raise Unauthenticated(TWO_KEYS)
    return next(iter(given), None)


def _bearer(value: str) -> str | None:
    """The key of a Bearer; another scheme is somebody else's business, a proxy's perhaps."""
    scheme, _, key = value.strip().partition(" ")
    return key if scheme.lower() == "bearer" else None
