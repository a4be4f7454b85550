"""Detections in KITTI's results format, which its evaluation program and server read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_centernet.errors import UserError
from lightning_centernet.results import image_number

# In the order of a line, with what KITTI writes where there is none.
_UNKNOWN = {
    "alpha": (-10.0,),
    "boxes": (),
    "dimensions": (-1.0,) * 3,
    "location": (-1000.0,) * 3,
    "rotation_y": (-10.0,),
}


def kitti_results(prediction: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Write the detections of one image, one a line.

    A line holds the type; truncation and occlusion, which are not predicted; alpha; the 2D box; height, width, length;
    x, y, z; rotation_y; and the score.

    Args:
        prediction: `boxes` (k, 4) xyxy in original pixels, `scores` (k,), `labels` (k,), `image_id` (); and as far as
            they are predicted `alpha` (k,), `dimensions` (k, 3), `location` (k, 3), `rotation_y` (k,).
        classes: KITTI's types by label.

    Raises:
        UserError: there are no boxes, or a number is not finite.
    """
    if "boxes" not in prediction:
        raise UserError(f"KITTI's result files need boxes, but only {', '.join(sorted(prediction))} are predicted")
    return "".join(f"{line}\n" for line in _lines(prediction, classes))


def write_kitti_results(
    folder: str | Path,
    predictions: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    names: Iterable[str] | None = None,
) -> None:
    """Write `kitti_results` of each image to `<name>.txt`, also where nothing is detected.

    Args:
        folder: made if missing.
        predictions: as of `kitti_results`.
        classes: as of `kitti_results`.
        names: one for each image; its `image_id` in six digits unless given.

    Raises:
        UserError: a file cannot be written, a number is not finite, or an image has no number.
    """
    folder, predictions = Path(folder), list(predictions)
    names = [f"{image_number(each):06d}" for each in predictions] if names is None else names
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, prediction in zip(names, predictions, strict=True):
            (folder / f"{name}.txt").write_text(kitti_results(prediction, classes), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot write the results: {error.strerror}; choose another folder") from error


def _lines(prediction: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    scores, labels = (prediction[name].detach().cpu().tolist() for name in ("scores", "labels"))
    columns = [_column(prediction, name, len(scores)) for name in _UNKNOWN]
    for score, label, *parts in zip(scores, labels, *columns, strict=True):
        if score == 0:  # a slot without a detection
            continue
        numbers = [number for part in parts for number in part]
        if not all(map(math.isfinite, [score, *numbers])):
            values = [*numbers, score]
            raise UserError(f"image {image_number(prediction)}: a detection is not finite: {values}; train anew")
        name = "_".join(classes[label].split())  # columns are words
        yield " ".join([name, "-1 -1", *(f"{number:.4f}" for number in numbers), f"{score:.9g}"])


def _column(prediction: Mapping[str, Any], name: str, count: int) -> list[Sequence[float]]:
    if name not in prediction and _UNKNOWN[name]:
        return [_UNKNOWN[name]] * count
    values = prediction[name].detach().cpu().double().unsqueeze(-1).flatten(1).tolist()
    if name in ("alpha", "rotation_y"):  # of two bins, a wrong one may lead out of the range
        return [[math.remainder(angle, math.tau) for angle in row] for row in values]
    return list(values)
