"""The threads that decode: as many as this process may use CPUs, whatever the machine has."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import cv2

CGROUP_V2: Final = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1: Final = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def workers(threads: int) -> ThreadPoolExecutor:
    """0 threads: one for each CPU. OpenCV's own stay out of it, for there is a picture on every core already."""
    cv2.setNumThreads(1)
    return ThreadPoolExecutor(threads or cpus(), "pictures")


def cpus() -> int:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = quota(_words(CGROUP_V2)) or quota([*_words(CGROUP_V1[0]), *_words(CGROUP_V1[1])])
    return min(affinity, share or affinity)


def quota(words: list[str]) -> int | None:
    """CPUs of a cgroup that says `QUOTA PERIOD` in microseconds, rounded up; None where it sets no limit."""
    if len(words) != 2 or not words[0].isdecimal() or not words[1].isdecimal():
        return None
    return max(1, math.ceil(int(words[0]) / int(words[1]))) if int(words[1]) else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
