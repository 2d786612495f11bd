"""Running a source as it came: any inputs, any outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lookonce.errors import ModelRefused
from lookonce.forge.running import session_of


class Execution:
    """One graph, loaded once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = session_of(model)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:
            reason = str(error).splitlines()[0][:300]
            raise ModelRefused(f"ONNX Runtime cannot run the model: {reason}. Export it again.") from error
        return [np.asarray(output) for output in outputs]
