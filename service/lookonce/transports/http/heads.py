"""A request's headers as they stand in the scope: each layer asks for one or two, and starlette's Headers cost more."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first one of that name, which is in lower case."""
    for each, value in scope["headers"]:
        if each == name:
            found: bytes = value
            return found
    return None


def text(scope: Scope, name: bytes) -> str | None:
    found = header(scope, name)
    return None if found is None else found.decode("latin-1")
