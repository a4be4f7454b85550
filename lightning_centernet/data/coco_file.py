"""A COCO file on disk: its lists of images, annotations and categories, checked as far as all readers need it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.problems import complain
from lightning_centernet.errors import UserError

Entry: TypeAlias = dict[str, Any]

_NEEDED = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


@dataclass(frozen=True)
class CocoFile:
    """What a file holds. All entries have the keys that they need; the ids of images and categories are numbers."""

    path: Path
    images: list[Entry]
    annotations: list[Entry]
    categories: list[Entry]
    attributes: Any = None  # of nuScenes: from names to numbers

    def where(self, annotation: Entry) -> str:
        """Name an annotation in messages."""
        return f"{self.path}: annotation {annotation.get('id', _short(annotation))}"


def load_coco(file: Path) -> CocoFile:
    """Read a file.

    Raises:
        UserError: the file is missing or broken, or an entry is; inside `collect_problems` the entry is left out.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: no such annotation file ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error}): export it again") from error
    lists = {}
    for key, needed in _NEEDED.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(f"{file}: has no list {key!r}: a COCO file is an object of images, annotations, categories")
        lists[key] = _complete(file, key, content[key], needed)
    for key in ("images", "categories"):
        lists[key] = _numbered(file, key, lists[key])
    return CocoFile(file, **lists, attributes=content.get("attributes"))


def _complete(file: Path, key: str, entries: Sequence[Entry], needed: Sequence[str]) -> list[Entry]:
    names = set(needed)
    complete = [entry for entry in entries if isinstance(entry, dict) and names <= entry.keys()]
    if len(complete) < len(entries):
        broken = [entry for entry in entries if not isinstance(entry, dict) or not names <= entry.keys()]
        complain([f"{file}: {key} need the keys {', '.join(needed)}: add them to {_short(entry)}" for entry in broken])
    return complete


def _numbered(file: Path, key: str, entries: Sequence[Entry]) -> list[Entry]:
    wrong = [entry for entry in entries if not isinstance(entry["id"], int)]
    complain([f"{file}: the ids of {key} must be whole numbers: change that of {_short(entry)}" for entry in wrong])
    return [entry for entry in entries if isinstance(entry["id"], int)]


def _short(entry: object) -> str:
    text = json.dumps(entry)
    return text if len(text) < 200 else f"{text[:200]}..."


def twice(values: Sequence[Hashable]) -> list[Hashable]:
    """List the values that stand more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def numbers(values: Sequence[Any], width: int) -> NDArray[np.float64]:
    """Make an (n, width) array at once, or row by row with NaN for rows that hold something else than numbers."""
    try:
        return np.array(values, dtype=np.float64).reshape(len(values), width)
    except (TypeError, ValueError):
        return np.array([_row(value, width) for value in values], dtype=np.float64)


def _row(value: object, width: int) -> NDArray[np.float64]:
    try:
        return np.array(value, dtype=np.float64).reshape(width)
    except (TypeError, ValueError):
        return np.full(width, np.nan)
