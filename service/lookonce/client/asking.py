"""What is sent: a caller's words as a request has them, checked before anything leaves."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import httpx

from lookonce.client.results import BadCall

Image: TypeAlias = bytes | str | PathLike[str]
"""A picture as a file holds it, or the path of one."""


def address_from(url: str) -> httpx.URL:
    """Raises BadCall, which does not repeat the address: a password may stand in it."""
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadCall(f"the service's address cannot be read ({error}); write http://host:port.") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise BadCall("the service's address names no host or begins with neither http:// nor https://; write both.")
    return address


def key_from(text: str | None) -> str:
    """Without what a file or a shell left around it; never shown."""
    key = (text or "").strip()
    if not all("!" <= letter <= "~" for letter in key):
        raise BadCall("the key holds letters or spaces that no key has; give it as `lookonce key` printed it.")
    return key


def path_of(model: str | None, version: int | None) -> str:
    if version is not None and model is None:
        raise BadCall("a version belongs to a model; name the model too.")
    of_model = f"/models/{_segment(model)}" if model else ""
    of_version = f"/versions/{_segment(str(version))}" if version is not None else ""
    return f"/v1{of_model}{of_version}/detect"


def query_of(options: Mapping[str, object]) -> dict[str, str]:
    """None is as if it were not given."""
    if options.get("format") not in (None, "json"):
        raise BadCall("the client reads the service's own JSON alone; leave `format` out, or ask over HTTP yourself.")
    return {name: _text(value) for name, value in options.items() if value is not None}


def bytes_of(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _segment(text: str) -> str:
    """One part of a path, whatever is in it: `..` would lead elsewhere."""
    try:
        return quote(text, safe="").replace(".", "%2E")
    except UnicodeEncodeError as error:
        raise BadCall(f"{text!r} is no text that can be sent; correct the model's name.") from error


def _text(value: object) -> str:
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
