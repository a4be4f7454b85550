"""KITTI's metrics of result files, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_centernet.data.kitti_lines import COLUMNS, NUMBERS, TYPES, read_lines
from lightning_centernet.errors import UserError
from lightning_centernet.metrics import KittiMetrics
from lightning_centernet.types import Tensors

_OTHER = -2  # label of a detection that is of no class of ours
_LEAST = torch.finfo(torch.float64).tiny


def evaluate_kitti(
    labels: str | Path,
    results: str | Path,
    frames: str | Path | Sequence[str] | None = None,
    classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
) -> dict[str, float]:
    """Evaluate result files as KITTI's own program does.

    Args:
        labels: the folder of label files, such as training/label_2.
        results: the folder of result files, <frame>.txt, whose lines have a score as their 16th and last entry.
        frames: the frames to evaluate, or a file that lists them, such as ImageSets/val.txt; None for those that have
            result files.
        classes: types to evaluate.

    Returns:
        What `KittiMetrics.compute` does.

    Raises:
        UserError: a file is missing, or a line is cut off.

    Example:
        >>> scores = evaluate_kitti("training/label_2", "results/data", "ImageSets/val.txt")  # doctest: +SKIP
        >>> scores["Car/3d_ap40_moderate_iou0.7"]  # doctest: +SKIP
    """
    metric = KittiMetrics(classes)
    for number, frame in enumerate(_frames(Path(results), frames)):
        meant = _objects(Path(labels) / f"{frame}.txt", NUMBERS, "take the frame out of the list")
        found = _objects(Path(results) / f"{frame}.txt", NUMBERS + 1, "where nothing is found it must be empty")
        number_of = {name: label for label, name in enumerate(classes)}
        found["labels"] = torch.tensor([number_of.get(TYPES[kind], _OTHER) for kind in found["types"].tolist()])
        found["scores"] = found["scores"].where(found["scores"] != 0, _LEAST)  # here 0 is a score, no empty slot
        metric.update([found], [meant | {"labels": meant["types"], "image_id": torch.tensor(number)}])
    return metric.compute()


def _frames(results: Path, frames: str | Path | Sequence[str] | None) -> list[str]:
    if isinstance(frames, str | Path):
        file = Path(frames)
        if not file.is_file():
            raise UserError(f"{file}: no such list of frames: give a file such as ImageSets/val.txt, or None for all")
        found = file.read_text(encoding="utf-8-sig", errors="surrogateescape").split()
    else:
        found = sorted(file.stem for file in results.glob("*.txt")) if frames is None else list(frames)
    if not found:
        raise UserError(f"{results}: there are no result files <frame>.txt: give the folder that holds them")
    return found


def _objects(file: Path, numbers: int, remedy: str) -> Tensors:
    if not file.is_file():
        raise UserError(f"{file}: no such file: {remedy}")
    lines = list(read_lines(file, (numbers,)))
    for line in lines:
        if not np.isfinite(line.values).all():
            raise UserError(f"{line.where}: holds something else than finite numbers: {line.values}")
    values = torch.tensor([line.values for line in lines], dtype=torch.float64).reshape(-1, numbers)
    widths = [*COLUMNS.values(), *[1] * (numbers - NUMBERS)]
    parts = dict(zip((*COLUMNS, "scores"), torch.split(values, widths, dim=1), strict=False))
    flat = {name: part if part.shape[1] > 1 else part.squeeze(1) for name, part in parts.items()}
    return flat | {"types": torch.tensor([TYPES.index(line.type) for line in lines], dtype=torch.int64)}
