"""How many threads decode."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest
from tests.waiting import until

from lookonce.errors import Draining
from lookonce.pipeline.workers import Workers, cpus, quota


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
    threads = Workers(asked)
    assert threads.count == given
    threads.close()


async def test_no_more_is_begun_than_there_are_threads_whoever_goes_away() -> None:
    threads, go_on, begun = Workers(1), threading.Event(), list[int]()

    def work(number: int) -> None:
        begun.append(number)
        go_on.wait(30)

    first = asyncio.create_task(threads.run(work, 1))
    await until(lambda: begun == [1])
    others = [asyncio.create_task(threads.run(work, number)) for number in (2, 3)]
    await asyncio.sleep(0)
    first.cancel()
    others[0].cancel()
    await asyncio.gather(first, others[0], return_exceptions=True)
    assert begun == [1], "whoever went away still has its thread"
    go_on.set()
    await others[1]
    assert begun == [1, 3]
    threads.close()


async def test_who_waits_for_a_thread_and_goes_away_leaves_nothing_behind() -> None:
    threads, go_on = Workers(1), threading.Event()
    first = asyncio.create_task(threads.run(go_on.wait, 30))
    picture = Picture()
    gone = weakref.ref(picture)
    waiting = asyncio.create_task(threads.run(picture.look))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    del picture, waiting
    await until(lambda: gone() is None)
    go_on.set()
    await first
    threads.close()


async def test_what_goes_wrong_on_a_thread_is_told_and_the_thread_is_free_again() -> None:
    threads = Workers(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 1, 0)
    assert await threads.run(divmod, 7, 2) == (3, 1)
    threads.close()
    with pytest.raises(Draining, match="has shut down"):
        await threads.run(divmod, 7, 2)


async def test_what_has_begun_is_finished_after_the_end_and_no_thread_is_left() -> None:
    before, go_on, begun = set(threading.enumerate()), threading.Event(), threading.Event()
    threads = Workers(1)

    def work() -> str:
        begun.set()
        go_on.wait(30)
        return "done"

    first, second = asyncio.create_task(threads.run(work)), asyncio.create_task(threads.run(work))
    await until(begun.is_set)
    threads.close()
    go_on.set()
    assert await first == "done"
    with pytest.raises(Draining):
        await second
    await until(lambda: set(threading.enumerate()) <= before)


async def test_what_goes_wrong_for_one_who_went_away_is_nobody_s_business() -> None:
    threads, go_on, complaints = Workers(1), threading.Event(), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))

    def work() -> None:
        go_on.wait(30)
        raise ZeroDivisionError

    gone = asyncio.create_task(threads.run(work))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await gone
    del gone
    assert await threads.run(divmod, 7, 2) == (3, 1)
    gc.collect()
    loop.set_exception_handler(None)
    assert complaints == []
    threads.close()


class Picture:
    def look(self) -> None: ...


LEAVES = """
import asyncio
import cv2
import numpy as np
from lookonce.pipeline.workers import Workers

png = cv2.imencode(".png", np.zeros((1500, 1500, 3), np.uint8))[1]

def work():
    for _ in range(20):
        cv2.imdecode(png[:], 1)

async def main():
    threads = Workers(4)
    begun = [asyncio.create_task(threads.run(work)) for _ in range(4)]
    await asyncio.sleep(0.05)

asyncio.run(main())
"""


def test_a_process_that_leaves_in_the_midst_of_a_decode_ends_well() -> None:
    left = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, check=False)
    assert (left.returncode, left.stderr) == (0, b"")


async def test_work_that_ends_with_stop_iteration_is_told_too() -> None:
    threads = Workers(1)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(next, iter(()))
    threads.close()
