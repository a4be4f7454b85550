"""What a benchmark gives, and the table of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measure import Rival, compare, operators, peak_memory

HEADINGS = ("what", "size", "plain", "ours", "ratio", "target", "memory", "operators", "waits", "differs by")


@dataclass(frozen=True)
class Case:
    """Two rivals for one job.

    Attributes:
        what: the job.
        size: of its inputs.
        plain: the originals' way.
        ours: this package's.
        target: the ratio to reach at least, and the one to strive for.
        unit: bytes that peak memory is told in; 0 where it says nothing.
        difference: the largest difference of the results, called after both have run.
    """

    what: str
    size: str
    plain: Rival
    ours: Rival
    target: tuple[float, ...] | None = None
    unit: int = 0
    difference: float | None = None


def rows(cases: Iterator[Case], repeats: int) -> Iterator[tuple[str, ...]]:
    """Measure one case after the other."""
    for case in cases:
        speed = compare(case.plain, case.ours, repeats)
        counts = [operators(rival) for rival in (case.plain, case.ours)]
        yield (
            case.what,
            case.size,
            milliseconds(speed.plain),
            milliseconds(speed.ours),
            f"{speed.ratio:.1f}",
            " / ".join(map(str, case.target or ())),
            " / ".join(f"{peak_memory(r) / case.unit:.2f}" for r in (case.plain, case.ours)) if case.unit else "",
            " / ".join(f"{count.kernels} ({count.all})" for count in counts),
            " / ".join(f"{count.reads}" for count in counts),
            "" if case.difference is None else f"{case.difference:.0e}",
        )


def milliseconds(seconds: float) -> str:
    """Write a time with three digits."""
    value = 1e3 * seconds
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def line(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    """Write a row of the table."""
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
