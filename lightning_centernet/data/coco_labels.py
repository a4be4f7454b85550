"""Which categories of a COCO file are classes, which are ignored, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightning_centernet.data.coco_file import CocoFile, twice
from lightning_centernet.data.problems import complain
from lightning_centernet.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Labels:
    """What the categories stand for.

    Attributes:
        classes: names by label.
        category_ids: the file's ids by label.
        of_category: the label, and whether it is ignored, by the ids that are not left out; -1 is ignored as any class.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    of_category: Mapping[int, tuple[int, bool]]


def coco_labels(
    coco: CocoFile, classes: Sequence[str] | None = None, ignored: Mapping[str, str | None] | None = None
) -> Labels:
    """Number the classes.

    Args:
        coco: the file.
        classes: names by label; None for all categories but the ignored ones, by ascending id.
        ignored: categories that are ignored as the class named, or as any class where that is None.

    Raises:
        UserError: a name is unknown, or stands twice.
    """
    entries = sorted(coco.categories, key=lambda entry: entry["id"])
    ids = {str(entry["name"]): entry["id"] for entry in entries}
    for key, what in (("name", "category"), ("id", "category id")):
        repeated = twice([entry[key] for entry in entries])
        complain([f"{coco.path}: {what} {value!r} stands twice in 'categories': keep one" for value in repeated])
    aside = dict(ignored or {})
    names = [name for name in ids if name not in aside] if classes is None else list(classes)
    _require(coco, "classes", names, ids)
    _require(coco, "ignored", aside, ids)
    _require(coco, "ignored", (name for name in aside.values() if name is not None), names)
    for name in twice([*names, *aside]):
        raise UserError(f"{coco.path}: data.classes and data.ignored name {name!r} twice: keep one")
    of_category = {ids[name]: (label, False) for label, name in enumerate(names)}
    of_category |= {ids[name]: (-1 if other is None else names.index(other), True) for name, other in aside.items()}
    return Labels(tuple(names), tuple(ids[name] for name in names), of_category)


def _require(coco: CocoFile, key: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            choice = f"{', '.join(known)}{did_you_mean(name, known)}"
            raise UserError(f"{coco.path}: data.{key} names {name!r}, which is none of {choice}")
