"""Running a source as it came: any inputs, any outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lookonce.errors import ModelRefused
from lookonce.forge.running import reason_of, session_of


class Execution:
    """One graph, loaded once."""

    def __init__(self, model: onnx.ModelProto, *, literal: bool = False) -> None:
        self._session = session_of(model, literal=literal)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        try:
            return [np.asarray(output) for output in self._session.run(None, dict(inputs))]
        except Exception as error:
            raise ModelRefused(f"ONNX Runtime cannot run the graph ({reason_of(error)}); export it again.") from error
