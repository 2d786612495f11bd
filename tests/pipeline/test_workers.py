"""How many threads decode."""

import os

import pytest

from lookonce.pipeline.workers import cpus, quota, workers


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ([], None),
        (["max", "100000"], None),
        (["-1", "100000"], None),
        (["200000", "100000"], 2),
        (["150000", "100000"], 2),
        (["1000", "100000"], 1),
        (["100000", "0"], None),
        (["nonsense"], None),
    ],
)
def test_a_cgroups_quota_is_counted_in_cpus_rounded_up(words: list[str], share: int | None) -> None:
    assert quota(words) == share


def test_there_is_a_thread_for_each_cpu_that_may_be_used() -> None:
    assert 1 <= cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("asked", "given"), [(0, cpus()), (3, 3)])
def test_the_settings_may_say_otherwise(asked: int, given: int) -> None:
    threads = workers(asked)
    assert threads._max_workers == given
    threads.shutdown()
