"""The pages, taken apart."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
API, SERVING, README = ROOT / "docs" / "api.md", ROOT / "docs" / "serving.md", ROOT / "README.md"
CODE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARYING: Final = {"request_id", "inference_id", "detection_id", "timings_ms", "time", "inferenceMs", "processMs"}
"""What no two answers have in common."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A command of a `console` block, and what the page says that it prints."""

    page: Path
    line: str
    output: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.line}"


def section(page: Path, heading: str) -> str:
    text = re.split(rf"^##+ {re.escape(heading)}$", page.read_text(), maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows below the heading row that begins with `heading`."""
    below = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in below[2:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in CODE.findall(text) if kind == language]


def shown_in(page: Path) -> list[Shown]:
    """A line goes on where it ends with a pipe."""
    commands = []
    for block in blocks(page.read_text(), "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, output = re.fullmatch(r"((?:[^\n]*\|\n)*[^\n]*)\n?(.*)", part, re.DOTALL).groups()
            commands.append(Shown(page, line, output))
    return commands


def as_json(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError:
        return None


def differences(shown: Any, real: Any, place: str = "") -> list[str]:  # noqa: ANN401
    """Where two answers do not agree: other members, other words, or numbers that differ by more than 1%."""
    if isinstance(shown, dict) and isinstance(real, dict) and shown.keys() == real.keys():
        members = [(name, shown[name], real[name]) for name in shown if name not in VARYING]
        return [each for name, one, other in members for each in differences(one, other, f"{place}.{name}")]
    if isinstance(shown, list) and isinstance(real, list) and len(shown) == len(real):
        pairs = enumerate(zip(shown, real, strict=True))
        return [each for index, pair in pairs for each in differences(*pair, f"{place}[{index}]")]
    return [] if _agree(shown, real) else [f"{place or 'the answer'}: {shown!r} is shown, it is {real!r}"]


def _agree(shown: object, real: object) -> bool:
    if isinstance(shown, str) and isinstance(real, str) and shown.endswith("…"):
        return real.startswith(shown[:-1])
    if isinstance(shown, int | float) and isinstance(real, int | float):
        return abs(shown - real) <= 0.01 * max(1.0, abs(shown))
    return shown == real
