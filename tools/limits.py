"""Holds the code to its size: no function over 50 lines, no file over 350."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FUNCTION, LONGEST_FILE = 50, 350
ROOMS = "service", "tests", "tools", "loadtest"


def main() -> int:
    files = sorted(file for room in ROOMS for file in Path(room).rglob("*.py"))
    too_long = [found for file in files for found in too_long_in(file)]
    print(*too_long, sep="\n", end="\n" if too_long else "")
    print(f"{len(files)} files, {len(too_long)} over the limit")
    return 1 if too_long or not files else 0


def too_long_in(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > LONGEST_FILE:
        yield f"{file}: {lines} lines, at most {LONGEST_FILE}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{file}:{node.lineno}: {node.name} has {length} lines, at most {LONGEST_FUNCTION}"


if __name__ == "__main__":
    sys.exit(main())
