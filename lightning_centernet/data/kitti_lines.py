"""Lines of KITTI's label and result files: a type, then numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_centernet.data.problems import complain

TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
COLUMNS = {"truncation": 1, "occlusion": 1, "alpha": 1, "boxes": 4, "dimensions": 3, "location": 3, "rotation_y": 1}
NUMBERS = sum(COLUMNS.values())  # of a label; a result has a score behind


class Line(NamedTuple):
    """One object of a file."""

    type: str
    values: list[float]
    where: str


def read_lines(file: Path, numbers: Sequence[int] = (NUMBERS,)) -> Iterator[Line]:
    """Read the objects of a file.

    Args:
        file: the file, which exists.
        numbers: how many a line may have.

    Raises:
        UserError: a line is none of an object; inside `collect_problems` it is left out.
    """
    for number, line in enumerate(file.read_text(errors="surrogateescape").splitlines(), start=1):
        if not line.strip():
            continue
        where, (name, *words) = f"{file}, line {number}", line.split()
        values = _floats(words)
        if name not in TYPES:
            complain([f"{where}: unknown type {name!r}: it must be one of {', '.join(TYPES)}"])
        elif values is None or len(words) not in numbers:
            wanted = " or ".join(map(str, numbers))
            complain([f"{where}: after the type there must be {wanted} numbers, not {line[:200]!r}: is it cut off?"])
        else:
            yield Line(name, values, where)


def _floats(words: Sequence[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
