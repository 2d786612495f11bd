"""Drawing a file, reading it and keeping what was said: what the forge's tests share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import pytest
from tests.forge import sources
from tests.forge.sources import Sketch

from lookonce.errors import LookOnceError
from lookonce.forge.recognise import Reading, Wishes, read
from lookonce.forge.source import Source, read_source

Draw = Callable[[Sketch], None]
NAMES = {"names": str(dict(enumerate(sources.LABELS)))}


def source_of(model: onnx.ModelProto) -> Source:
    with TemporaryDirectory() as folder:
        return read_source(sources.write(model, Path(folder) / "model.onnx"))


def reading_of(model: onnx.ModelProto, **wishes: Any) -> Reading:  # noqa: ANN401
    return read(source_of(model), Wishes(**wishes))


def refusal_of(model: onnx.ModelProto, kind: type[LookOnceError] = LookOnceError, **wishes: Any) -> str:  # noqa: ANN401
    with pytest.raises(kind) as caught:
        reading_of(model, **wishes)
    return said_plainly(caught.value)


def said_plainly(error: LookOnceError) -> str:
    """What the error says, once it is known to be a sentence or two without any machinery."""
    said = str(error)
    assert said.endswith(".")
    assert "\n" not in said
    assert "Traceback" not in said
    assert "ONNXRuntimeError" not in said
    assert len(said) < 1000
    return said


def model(draw: Draw, metadata: dict[str, str] | None = None, **how: Any) -> onnx.ModelProto:  # noqa: ANN401
    sketch = Sketch(metadata=metadata or {}, **how)
    draw(sketch)
    return sketch.model()


def one(shape: Sequence[int], tensor: Callable[[Sketch], str]) -> Draw:
    """A model with one output [N,*shape]."""
    return lambda sketch: sketch.give(tensor(sketch), "output0", *shape)


def join(sketch: Sketch, *parts: str) -> str:
    return sketch.op("Concat", *parts, axis=-1)


def turned(sketch: Sketch, rows: str) -> str:
    """[N,A,D] as [N,D,A]."""
    return sketch.op("Transpose", rows, perm=[0, 2, 1])
