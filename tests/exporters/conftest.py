"""These tests need files that `make exporters` makes; it names their folder. Without it they are no part of a run."""

import os
from pathlib import Path

import pytest

collect_ignore_glob = [] if "LOOKONCE_EXPORTS" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def exports() -> Path:
    return Path(os.environ["LOOKONCE_EXPORTS"])
