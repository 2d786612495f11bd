"""A look at pictures right here, without a service."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lookonce.app import detector_of
from lookonce.client import Detections
from lookonce.client.results import detections_from
from lookonce.inference.embedded import Embedded
from lookonce.local.triton import models_in
from lookonce.logs import logger
from lookonce.pipeline.request import Request
from lookonce.settings import read_each
from lookonce.transports.options import options_from
from lookonce.transports.presets import native


@contextmanager
def looking(
    repository: Path, model: str | None, options: Mapping[str, object], timeout_s: float
) -> Iterator[Callable[[Path, bytes], Detections]]:
    """Looks with the models of `repository`. Raises what a service would answer."""
    models_in(repository)
    with asyncio.Runner() as runner:
        detector = detector_of(read_each(), Embedded(repository), logger("error", "text"))
        runner.run(detector.catalogue.refresh())

        def look(path: Path, picture: bytes) -> Detections:
            until = runner.get_loop().time() + timeout_s
            request = Request(pictures=[picture], until=until, model=model, options=options_from(options))
            return detections_from(native(runner.run(detector.detect(request)), path.name))

        try:
            yield look
        finally:
            runner.run(detector.close())
