"""What there is in a data set, and what is wrong with it, before any training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from lightning_centernet.data.boxes3d import projected_overlaps
from lightning_centernet.data.images import ImageDataset
from lightning_centernet.data.module import DetectionData
from lightning_centernet.data.problems import collect_problems
from lightning_centernet.data.sample import Dataset, Objects
from lightning_centernet.errors import UserError

_SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}  # areas in pixels, as in COCO
_SHOWN = 20
_LEAST_OVERLAP = 0.5  # in the median; KITTI's own is above 0.9


class _Look(NamedTuple):
    file: str
    digest: str
    beyond: int  # boxes that reach out of the picture
    objects: Objects
    overlaps: NDArray[np.float64]  # of 3D boxes, projected, with the 2D boxes; NaN where there is nothing to compare


@dataclass(frozen=True)
class Report:
    """What one data set holds.

    Attributes:
        name: the split.
        classes: names by label.
        pictures: how many can be read.
        empty: how many of these show no object.
        objects: (C,) objects by label, without the ignored ones.
        ignored: (C,) crowds and difficult objects by label.
        areas: (n,) areas of all objects in square pixels.
        problems: what training would stop at, or what makes its results wrong, a line each.
        notes: what training copes with, but what may be a mistake.
        digests: by picture file, its content's.
    """

    name: str
    classes: tuple[str, ...] = ()
    pictures: int = 0
    empty: int = 0
    objects: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    areas: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def print(self, console: Console) -> None:
        """Print all as tables."""
        console.rule(f"[bold]{self.name}: {self.pictures} pictures, {self.empty} of them without objects")
        if len(self.areas):
            console.print(self._class_table(), self._size_table())
        for title, lines, style in (("problem", self.problems, "red"), ("note", self.notes, "yellow")):
            for line in lines[:_SHOWN]:
                console.print(f"[{style}]{title}[/] {escape(line)}", soft_wrap=True, highlight=False)
            if len(lines) > _SHOWN:
                console.print(f"[{style}]... and {len(lines) - _SHOWN} more {title}s")

    def _class_table(self) -> Table:
        table = Table("class", title="objects")
        for heading in ("objects", "ignored"):
            table.add_column(heading, justify="right")
        for name, objects, ignored in zip(self.classes, self.objects, self.ignored, strict=True):
            table.add_row(escape(name), str(objects), str(ignored), style=None if objects else "yellow")
        return table

    def _size_table(self) -> Table:
        table = Table(title="sides of objects in pixels, as the root of the area")
        row = []
        for name, (low, high) in _SIZES.items():
            table.add_column(name, justify="right")
            row.append(str(int(((self.areas >= low) & (self.areas < high)).sum())))
        for quantile in (0, 5, 50, 95, 100):
            table.add_column(f"{quantile}%", justify="right")
            row.append(f"{np.percentile(np.sqrt(self.areas), quantile):.1f}")
        table.add_row(*row)
        return table


def inspect_data(data: DetectionData, console: Console | None = None) -> list[Report]:
    """Read all data sets of a data module, decode all their pictures, and report.

    A picture that an earlier data set holds too is a problem of the later one.

    Args:
        data: its data sets are read leniently, for this purpose only.
        console: shows the progress.
    """
    reports: list[Report] = []
    for name in data.sources:
        dataset: Dataset | None = None
        with collect_problems() as problems:
            dataset = data.dataset(name)
        report = Report(name) if dataset is None else inspect_dataset(dataset, name, data.max_objects, console)
        report.problems[:0] = dict.fromkeys(problems)
        report.notes[:0] = [f"used without what depends on it: {line}" for line in problems.notes]
        for earlier in reports:
            report.problems.extend(_shared(report, earlier))
        reports.append(report)
    return reports


def inspect_dataset(
    dataset: Dataset, name: str = "data", max_objects: int = 128, console: Console | None = None
) -> Report:
    """Decode all pictures of a data set, and report; `console` shows the progress."""
    looks, problems = [], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        results = threads.map(lambda index: _look(dataset, index), range(len(dataset)))
        for result in track(results, f"reading {name}", len(dataset), console=console, disable=console is None):
            if isinstance(result, _Look):
                looks.append(result)
            else:
                problems.append(str(result))
    labels = np.concatenate([np.zeros(0, np.int64), *(look.objects["labels"] for look in looks)])
    ignore = np.concatenate([np.zeros(0, np.bool_), *(look.objects["ignore"] for look in looks)])
    return Report(
        name=name,
        classes=dataset.classes,
        pictures=len(looks),
        empty=sum(not len(look.objects["labels"]) for look in looks),
        objects=np.bincount(labels[~ignore], minlength=len(dataset.classes)),
        ignored=np.bincount(labels[ignore & (labels >= 0)], minlength=len(dataset.classes)),
        areas=np.concatenate([np.zeros(0, np.float32), *(_areas(look.objects) for look in looks)]),
        problems=[*problems, *_calibration(looks, wrong=True)],
        notes=[*_notes(dataset, looks, max_objects), *_calibration(looks, wrong=False), *_repeated(looks)],
        digests={look.file: look.digest for look in looks},
    )


def _areas(objects: Objects) -> NDArray[np.float32]:
    boxes = objects["boxes"]
    return np.asarray(objects.get("area", (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)), np.float32)


def _look(dataset: Dataset, index: int) -> _Look | UserError:
    try:
        sample = dataset[index]
    except UserError as error:
        return error
    digest = hashlib.blake2b(sample.image.tobytes(), digest_size=16).hexdigest()
    height, width = sample.image.shape[:2]
    low, high = sample.annotations["boxes"][:, :2], sample.annotations["boxes"][:, 2:]
    beyond = int(((low < 0) | (high > (width, height))).any(axis=1).sum())
    return _Look(sample.file, digest, beyond, sample.annotations, projected_overlaps(sample).double().numpy())


def _notes(dataset: Dataset, looks: Sequence[_Look], max_objects: int) -> list[str]:
    skipped = dataset.skipped if isinstance(dataset, ImageDataset) else ()
    beyond = [look for look in looks if look.beyond]
    crowded = [look for look in looks if len(look.objects["labels"]) > max_objects]
    notes = [f"left out, without area or wholly outside its picture: {line}" for line in skipped]
    if beyond:
        boxes = sum(look.beyond for look in beyond)
        notes.append(f"{boxes} boxes reach beyond their pictures; the first is in {beyond[0].file}")
    if crowded:
        file = crowded[0].file
        notes.append(f"{len(crowded)} pictures hold more than max_objects={max_objects} objects; the first is {file}")
    return notes


def _calibration(looks: Sequence[_Look], wrong: bool) -> list[str]:
    overlaps = np.concatenate([np.zeros(0), *(look.overlaps for look in looks)])
    known = overlaps[np.isfinite(overlaps)]
    if not len(known) or wrong != (np.median(known) < _LEAST_OVERLAP):
        return []
    worst = min((look for look in looks if np.isfinite(look.overlaps).any()), key=lambda look: np.nanmin(look.overlaps))
    line = (
        f"{len(known)} 3D boxes, projected, overlap their 2D boxes by an IoU of {np.mean(known):.2f} in the mean; the "
        f"worst, {np.nanmin(worst.overlaps):.2f}, is in {worst.file}"
    )
    return [f"{line}: the calibration is of other pictures, or lengths are not in metres" if wrong else line]


def _repeated(looks: Sequence[_Look]) -> list[str]:
    first: dict[str, str] = {}
    return [
        f"the same picture twice: {earlier} and {look.file}"
        for look in looks
        if (earlier := first.setdefault(look.digest, look.file)) is not look.file
    ]


def _shared(report: Report, earlier: Report) -> list[str]:
    files = {digest: file for file, digest in earlier.digests.items()}
    return [
        f"the same picture in {earlier.name} and {report.name}: {files[digest]} and {file}"
        for file, digest in report.digests.items()
        if digest in files
    ]
