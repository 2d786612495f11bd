"""What of `pip install lookonce[…]` a command needs, said where it is not there."""

from collections.abc import Iterator
from contextlib import contextmanager

from lookonce.errors import ExtraMissing


@contextmanager
def needing(extras: str, doing: str) -> Iterator[None]:
    """Around imports alone."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"`{doing}` needs {error.name}; install it with `pip install 'lookonce[{extras}]'`."
        ) from error
