"""What an ONNX file is, told without making anything of it."""

from dataclasses import dataclass
from pathlib import Path

from lookonce.errors import LayoutUnknown, ModelRefused
from lookonce.forge.cost import count_parameters, gflops
from lookonce.forge.layouts.table import Layout, that_look_like
from lookonce.forge.recognise import Probed, Reading, Wishes, doubt, probe, read_probed
from lookonce.forge.source import Source, read_source


@dataclass(frozen=True, slots=True)
class Inspection:
    """`reading` is there where the layout is decided; else `choices` are what it could be, and `doubt` says why."""

    source: Source
    probed: Probed
    gflops: float
    parameters: int
    reading: Reading | None
    choices: tuple[Layout, ...]
    doubt: str


def inspect(path: Path, wishes: Wishes) -> Inspection:
    """Raises LayoutUnknown where no layout fits at all."""
    source = read_source(path)
    probed = probe(source, wishes)
    choices = tuple(that_look_like(probed.facts))
    reading, doubt = _read(probed, wishes, choices)
    cost, parameters = gflops(probed.model), count_parameters(probed.model)
    return Inspection(source, probed, cost, parameters, reading, choices, doubt)


def _read(probed: Probed, wishes: Wishes, choices: tuple[Layout, ...]) -> tuple[Reading | None, str]:
    try:
        return read_probed(probed, wishes), ""
    except LayoutUnknown as error:
        if wishes.layout is not None or not choices:
            raise
        return None, doubt(probed) if len(choices) > 1 else str(error)
    except ModelRefused as error:
        return None, str(error)
