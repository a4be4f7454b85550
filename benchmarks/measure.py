"""What is measured of two rivals: time in one interleaved run, memory, operators, waits for the device."""

from __future__ import annotations

import statistics
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

SENDING = {"lift_fresh", "_pin_memory"}  # make a tensor on the host, for a device maybe
READING = {  # make the host wait for a device
    "_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_consecutive", "unique_dim",
    "equal", "is_nonzero", "allclose", "bincount", "repeat_interleave",
}  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """One way to do a job."""

    run: Callable[[], object]
    restore: Callable[[], object] = lambda: None  # what `run` changes; before every run, and not timed


class Speed(NamedTuple):
    """Medians in seconds, and the median of the ratios plain / ours of runs side by side."""

    plain: float
    ours: float
    ratio: float


def compare(plain: Rival, ours: Rival, repeats: int, warmups: int = 2) -> Speed:
    """Time both in turns; the one that begins changes, for the first has the colder caches."""
    times = interleave([plain, ours], repeats, warmups)
    ratio = statistics.median(p / o for p, o in zip(*times, strict=True))
    return Speed(statistics.median(times[0]), statistics.median(times[1]), ratio)


def interleave(rivals: Sequence[Rival], repeats: int, warmups: int = 2) -> list[list[float]]:
    """Time all rivals in each of `repeats` rounds, in rotating order, after `warmups` rounds that do not count."""
    times: list[list[float]] = [[] for _ in rivals]
    for repeat in range(warmups + repeats):
        for turn in range(len(rivals)):
            number = (repeat + turn) % len(rivals)
            rivals[number].restore()
            elapsed = seconds(rivals[number].run)
            if repeat >= warmups:
                times[number].append(elapsed)
    return times


def seconds(run: Callable[[], object]) -> float:
    """Time one run, until the device has finished it."""
    _synchronize()
    start = time.perf_counter()
    run()
    _synchronize()
    return time.perf_counter() - start


def peak_memory(rival: Rival) -> int:
    """Find the most bytes that a run holds at one time beyond what it found, its results included.

    On the host torch's and numpy's peaks are added, though they may come at different times.
    """
    rival.restore()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        rival.run()
        return torch.cuda.max_memory_allocated() - before
    tracemalloc.start()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        rival.run()
    _, peak_of_numpy = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = peak = 0
    for _, size in sorted(_allocations(profiler.profiler.kineto_results.experimental_event_tree())):
        held += size
        peak = max(peak, held)
    return peak + peak_of_numpy


class Operators(TorchDispatchMode):
    """Count what is dispatched while this mode is on.

    Attributes:
        all: number of operators.
        kernels: those that are no views.
        waits: those that wait for a device or send to it, by name.
        callers: their names, in order, and the stacks that they were called from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.all = self.kernels = 0
        self.waits: Counter[str] = Counter()
        self.callers: list[tuple[str, str]] = []

    @property
    def reads(self) -> int:
        """Number of the waits that read something back from the device."""
        return sum(number for name, number in self.waits.items() if name not in SENDING)

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let compiled functions run compiled: a fused kernel is no operator."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.all += 1
        self.kernels += not (func.is_view or name in ("detach", "alias", "lift_fresh"))
        if _waits(func, args):
            self.waits[name] += 1
            self.callers.append((name, "".join(traceback.format_stack(limit=12)[:-1])))
        return func(*args, **(kwargs or {}))


def operators(rival: Rival) -> Operators:
    """Count the operators of a run."""
    rival.restore()
    with Operators() as counted:
        rival.run()
    return counted


def _waits(func: Any, args: Any) -> bool:
    name = func.overloadpacket.__name__
    if name in ("index", "index_put", "index_put_"):
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return name in READING | SENDING and (name, func._overloadname) != ("repeat_interleave", "self_int")


def _allocations(events: Sequence[Any]) -> Iterator[tuple[int, int]]:
    # When, and how many bytes; freed ones are negative.
    for event in events:
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu":
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from _allocations(event.children)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
