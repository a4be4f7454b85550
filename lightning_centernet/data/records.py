"""From the rows of an annotation file to checked records: what all readers share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.problems import complain
from lightning_centernet.data.sample import Objects, Record

_logger = logging.getLogger(__name__)


class Picture(NamedTuple):
    """A picture as the annotations describe it; `calibration` is (3, 4) where it has a camera."""

    file: Path
    image_id: int
    width: int
    height: int
    calibration: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ObjectTable:
    """All objects of a data set, as its files state them, one row each.

    Attributes:
        pictures: (n,) the row of the object's picture.
        boxes: (n, 4) float64 x1 y1 x2 y2 in pixels; NaN where the file holds no number.
        labels: (n,) class, from 0.
        ignore: (n,) bool.
        describe: names a row for messages: its file, the annotation, the key and the value.
        area: (n,) float64; NaN where the file has none. Left out: width times height.
        fields: further values, (n,) or (n, ...).
    """

    pictures: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    describe: Callable[[int], str]
    area: NDArray[np.float64] | None = None
    fields: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def present(pictures: Sequence[Picture]) -> list[Picture]:
    """Keep the pictures whose files exist, and complain about the others."""
    missing = {row for row, picture in enumerate(pictures) if not picture.file.is_file()}
    complain([f"{pictures[row].file}: no such picture file, though it is annotated" for row in sorted(missing)])
    return [picture for row, picture in enumerate(pictures) if row not in missing]


def assemble(source: str, pictures: Sequence[Picture], table: ObjectTable) -> tuple[list[Record], list[str]]:
    """Check the boxes and hand each picture its objects, in the order of the table.

    A degenerate box (no width or height, or wholly outside its picture) is left out, and reported once for all.

    Args:
        source: names the data set in the report.
        pictures: the pictures, in the order that `table.pictures` counts.
        table: the objects.

    Returns:
        The records, and a line for each object that was left out.

    Raises:
        UserError: a box holds something else than finite numbers.
    """
    finite = np.asarray(np.isfinite(table.boxes).all(axis=1))
    infinite = [table.describe(row) for row in np.flatnonzero(~finite).tolist()]
    complain([f"{box} is not four finite numbers: correct or remove it" for box in infinite])
    degenerate = finite & _degenerate(table, pictures)
    skipped = [table.describe(row) for row in np.flatnonzero(degenerate).tolist()]
    if skipped:
        message = "%s: left out %d of %d boxes, without area or wholly outside their picture; the first: %s"
        _logger.warning(message, source, len(skipped), len(finite), skipped[0])
    rows = np.flatnonzero(finite & ~degenerate)
    rows = rows[np.argsort(table.pictures[rows], kind="stable")]
    bounds = np.searchsorted(table.pictures[rows], np.arange(len(pictures) + 1)).tolist()
    columns = {name: column[rows] for name, column in _columns(table).items()}
    records = [
        _record(picture, {name: column[start:stop] for name, column in columns.items()})
        for picture, start, stop in zip(pictures, bounds[:-1], bounds[1:], strict=True)
    ]
    return records, skipped


def _record(picture: Picture, objects: Objects) -> Record:
    camera = None if picture.calibration is None else picture.calibration.astype(np.float32)
    return Record(*picture[:4], objects, camera)


def _degenerate(table: ObjectTable, pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    sizes = np.array([(picture.width, picture.height) for picture in pictures], dtype=np.float64).reshape(-1, 2)
    low, high = table.boxes[:, :2], table.boxes[:, 2:]
    wrong = (high <= low) | (high <= 0) | (low >= sizes[table.pictures])
    return np.logical_or(wrong[:, 0], wrong[:, 1])


def _columns(table: ObjectTable) -> Objects:
    width, height = (table.boxes[:, 2:] - table.boxes[:, :2]).T
    area = width * height if table.area is None else np.where(np.isnan(table.area), width * height, table.area)
    columns: dict[str, NDArray[Any]] = {
        "boxes": table.boxes.astype(np.float32),
        "labels": table.labels,
        "ignore": table.ignore,
        "area": area.astype(np.float32),
    }
    return columns | dict(table.fields)
