"""Print the table: `python -m benchmarks [--only losses decoding] [--repeats 15]`."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks import decoding, encoding, losses, pipeline, step
from benchmarks.table import HEADINGS, line, rows

PARTS: dict[str, Callable[[int], Iterator[tuple[str, ...]]]] = {
    "losses": lambda repeats: rows(losses.cases(), repeats),
    "decoding": lambda repeats: rows(decoding.cases(), repeats),
    "encoding": lambda repeats: rows(encoding.cases(), repeats),
    "pipeline": lambda repeats: rows(pipeline.cases(), repeats),
    "step": step.rows,
}
WIDTHS = (36, 26, 7, 7, 5, 8, 13, 23, 6, 10)


def main() -> None:
    """Measure what is asked for, and print each row as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare with the originals' formulas.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the suite, all unless given")
    parser.add_argument("--repeats", type=int, default=15, help="runs of each rival that count, after two that do not")
    options = parser.parse_args()
    print(f"{processor()}; torch {torch.__version__}, {torch.get_num_threads()} threads; {options.repeats} repeats\n")
    print(line(HEADINGS, WIDTHS))
    print("|" + "|".join("-" * (width + 2) for width in WIDTHS) + "|")
    for part in options.only:
        for cells in PARTS[part](options.repeats):
            print(line(cells, WIDTHS), flush=True)


def processor() -> str:
    """Name the device that computes."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [text for text in info.read_text().splitlines() if "model name" in text] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


if __name__ == "__main__":
    main()
