"""Detections in COCO's results format, which every COCO evaluator and server reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_centernet.errors import UserError


def coco_results(predictions: Iterable[Mapping[str, Any]], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """List all detections as plain numbers, unrounded.

    Args:
        predictions: for each image `boxes` (k, 4) xyxy in original pixels, `scores` (k,), `labels` (k,), `image_id` ().
        category_ids: the data set's own id of each label.

    Returns:
        One `image_id`, `category_id`, `bbox` (x, y, width, height) and `score` for each detection.
    """
    return [result for image in predictions for result in _image_results(image, category_ids)]


def write_coco_results(path: str | Path, predictions: Iterable[Mapping[str, Any]], category_ids: Sequence[int]) -> None:
    """Write `coco_results` as a JSON file: all of it, or in case of failure nothing.

    Raises:
        UserError: the file cannot be written there, or a number is not finite.
    """
    path = Path(path)
    text = _json(coco_results(predictions, category_ids))
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the results: {error.strerror}; choose another path") from error


def _image_results(image: Mapping[str, Any], category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    boxes, scores = (image[key].detach().cpu().double().tolist() for key in ("boxes", "scores"))
    for (x1, y1, x2, y2), score, label in zip(boxes, scores, image["labels"].tolist(), strict=True):
        yield {
            "image_id": int(image["image_id"]),
            "category_id": category_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }


def _json(results: list[dict[str, Any]]) -> str:
    try:
        return json.dumps(results, allow_nan=False)
    except ValueError as error:
        broken = next(item for item in results if not all(map(math.isfinite, [item["score"], *item["bbox"]])))
        raise UserError(f"image {broken['image_id']}: a detection is not finite: {broken}; train anew") from error
