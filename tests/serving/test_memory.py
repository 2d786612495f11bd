"""What is freed is used again."""

import subprocess
import sys

import pytest

PAGES_FAULTED = """
import resource
{prepare}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    large = [bytearray(20_000_000) for _ in range(4)]
    for each in large:
        each[::4096] = bytes(len(each[::4096]))
    del large, each
before = faults()
large = [bytearray(20_000_000) for _ in range(4)]
print(faults() - before)
"""


def faulted(prepare: str) -> int:
    ran = subprocess.run([sys.executable, "-c", PAGES_FAULTED.format(prepare=prepare)], capture_output=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told how to keep memory")
def test_tensors_lie_where_the_last_ones_did() -> None:
    assert faulted("from lookonce.memory import keep_freed_memory; keep_freed_memory()") < 100 < faulted("")
