"""What a part of a program takes: seconds and memory.

Seconds are the least of several runs, the compared parts in turns: other work on the machine only ever adds. Wait until
there is little of it, since short runs find calm moments and long ones do not. Memory is what the weights take
(float32) and what the resident set of a fresh process grows by at the peak of a run, beyond what it was after a first
one, so that libraries and caches do not count. It is read from Linux's /proc/self/status and NaN elsewhere.
"""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

MIB = 2**20
_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Built:
    """Something ready to run, and the number of parameters that it holds."""

    run: Callable[[], object]
    parameters: int = 0

    @classmethod
    def of(cls, run: Callable[[], object], *modules: Any) -> Built:
        """What runs these modules (nn.Module), set to evaluation."""
        return cls(run, sum(p.numel() for module in modules for p in module.eval().parameters()))


Build = Callable[[], Built]
"""A function at the top of a module, or a partial of one: another process must find it by its name."""


def seconds(
    runs: Sequence[Callable[[], object]], budget: float, clock: Callable[[], float] = perf_counter
) -> list[float]:
    """The least seconds of each by `clock`, in turns until `budget` seconds are spent, two turns at least."""
    least, turns, end = [math.inf] * len(runs), 0, perf_counter() + budget
    with torch.no_grad():
        while turns < 2 or perf_counter() < end:
            for i, run in enumerate(runs):
                start = clock()
                run()
                least[i] = min(least[i], clock() - start)
            turns += 1
    return least


def memory(build: Build) -> float:
    """MiB, of weights and of the second of two runs in a process of its own, with as many threads as this one."""
    if not (_PROC / "status").exists():
        return math.nan
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_memory, build, torch.get_num_threads()).result()


def _memory(build: Build, threads: int) -> float:
    torch.set_num_threads(threads)
    with torch.no_grad():
        built = build()
        built.run()
        return 4 * built.parameters / MIB + growth(built.run)


def growth(run: Callable[[], object]) -> float:
    """MiB by which this process grows at the peak of a run that is not its first."""
    if not (_PROC / "status").exists():
        return math.nan
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs left in the allocator's pool would hide this one's
    before = _status("VmRSS")
    (_PROC / "clear_refs").write_text("5")  # sets the peak back to now
    run()
    return max(_status("VmHWM") - before, 0.0)


def _status(key: str) -> float:
    """MiB that the kernel tells of this process under a key."""
    line = next(line for line in (_PROC / "status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024
