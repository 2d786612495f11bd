"""The numbers of docs/performance.md are those of the run that lies beside it."""

import re
import subprocess
import sys

import pytest
from tests.docs.pages import ROOT

PAGE, RUN = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance"
NUMBERS = re.compile(r"^<!-- numbers: [^\n]+ -->\n(.*)^<!-- end of numbers -->$", re.MULTILINE | re.DOTALL)


def test_the_numbers_are_those_of_the_reference_run() -> None:
    tool = [sys.executable, ROOT / "tools" / "bench", "--markdown", RUN]
    done = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (shown,) = NUMBERS.findall(PAGE.read_text())
    assert shown.strip() == done.stdout.strip()


@pytest.mark.parametrize("picture", re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text()))
def test_every_picture_is_there(picture: str) -> None:
    assert (PAGE.parent / picture).read_bytes().startswith(b"\x89PNG")
