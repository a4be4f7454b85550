"""The joints of a pose: their names, how they are connected, mirrored and measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from lightning_centernet.errors import UserError

Pairs: TypeAlias = tuple[tuple[str, str], ...]

# How far people place a joint apart, relative to the person's size, as in COCO's evaluation.
_COCO = {"nose": 0.026} | {
    f"{side}_{joint}": sigma
    for joint, sigma in (
        ("eye", 0.025), ("ear", 0.035), ("shoulder", 0.079), ("elbow", 0.072),
        ("wrist", 0.062), ("hip", 0.107), ("knee", 0.087), ("ankle", 0.089),
    )
    for side in ("left", "right")
}  # fmt: skip
COCO_JOINTS = tuple(_COCO)
_OPTIONS = ("edges", "flip_pairs", "sigmas", "classes")
_OTHER_SIDE = {"left": "right", "right": "left"}
_SIDE = re.compile("left|right", re.IGNORECASE)


@dataclass(frozen=True)
class Skeleton:
    """The joints of all objects of a data set.

    Attributes:
        names: of the joints, in their order.
        edges: names of joints to draw a line between.
        flip_pairs: names of joints that become each other in a mirror; None finds them by `left` and `right` in the
            names.
        sigmas: the tolerance of each joint relative to the object's size, for the object keypoint similarity; None
            takes COCO's, where all names are COCO's.
        classes: names of the classes whose objects have these joints; None if all have them.

    Raises:
        UserError: something does not fit together.
    """

    names: tuple[str, ...]
    edges: Pairs = ()
    flip_pairs: Pairs | None = None
    sigmas: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the values, and complete those that the names tell."""
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated or not self.names:
            raise UserError(f"keypoints: the joints need names, each its own, not {', '.join(repeated) or 'none'}")
        if self.flip_pairs is None:
            object.__setattr__(self, "flip_pairs", _sides(self.names))
        if self.sigmas is None and set(self.names) <= set(_COCO):
            object.__setattr__(self, "sigmas", tuple(_COCO[name] for name in self.names))
        for key, pairs in (("edges", self.edges), ("flip_pairs", self.flip_pairs or ())):
            unknown = [str(name) for pair in pairs for name in pair if name not in self.names]
            if unknown or any(len(pair) != 2 for pair in pairs):
                raise UserError(f"keypoints.{key}: must be pairs of {', '.join(self.names)}; not so {pairs}")
        paired = [name for pair in self.flip_pairs or () for name in pair]
        if len(set(paired)) < len(paired):
            raise UserError(f"keypoints.flip_pairs={self.flip_pairs}: a joint stands in more than one pair")
        positive = [sigma for sigma in self.sigmas or () if 0 < sigma < math.inf]
        if self.sigmas is not None and not len(self.sigmas) == len(positive) == len(self.names):
            raise UserError(f"keypoints.sigmas={self.sigmas}: must be {len(self.names)} positive numbers, one a joint")

    def __len__(self) -> int:
        """Count the joints."""
        return len(self.names)

    @cached_property
    def flip(self) -> list[int]:
        """Of each joint the one that is in its place in a mirror."""
        other = {a: b for pair in self.flip_pairs or () for a, b in (pair, pair[::-1])}
        return [self.names.index(other.get(name, name)) for name in self.names]

    @property
    def known_sigmas(self) -> tuple[float, ...]:
        """The sigmas.

        Raises:
            UserError: neither the data nor the names tell them.
        """
        if self.sigmas is None:
            raise UserError(
                f"the tolerances of the joints {', '.join(self.names)} are not known: set data.keypoints.sigmas=[...] "
                f"or give the file's category `sigmas`, one for each joint"
            )
        return self.sigmas

    def plain(self) -> dict[str, Any]:
        """Describe it in plain values, from which `make_skeleton` builds it again."""
        return {
            "names": list(self.names),
            "edges": [list(pair) for pair in self.edges],
            "flip_pairs": [list(pair) for pair in self.flip_pairs or ()],
            "sigmas": None if self.sigmas is None else list(self.sigmas),
            "classes": None if self.classes is None else list(self.classes),
        }


def make_skeleton(values: Mapping[str, Any]) -> Skeleton:
    """Build a skeleton of plain values: `names`, and what there is of `edges`, `flip_pairs`, `sigmas` and `classes`.

    Raises:
        UserError: a key is unknown, or something does not fit together.
    """
    unknown = set(values) - {"names", *_OPTIONS}
    if unknown or not values.get("names"):
        raise UserError(f"keypoints: must give names, and may give {', '.join(_OPTIONS)}, not {dict(values)}")
    pairs = {key: values[key] for key in ("edges", "flip_pairs") if values.get(key) is not None}
    try:
        sigmas = None if values.get("sigmas") is None else tuple(float(sigma) for sigma in values["sigmas"])
        classes = None if values.get("classes") is None else tuple(str(name) for name in values["classes"])
        return Skeleton(
            tuple(str(name) for name in values["names"]),
            **{key: tuple((str(a), str(b)) for a, b in given) for key, given in pairs.items()},
            sigmas=sigmas,
            classes=classes,
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"keypoints: {dict(values)} does not describe joints ({error})") from error


def _sides(names: Sequence[str]) -> Pairs:
    pairs = []
    for name in names:
        mirrored = _SIDE.sub(_swap, name)
        if mirrored in names and names.index(name) < names.index(mirrored):
            pairs.append((name, mirrored))
    return tuple(pairs)


def _swap(match: re.Match[str]) -> str:
    word = match[0]
    other = _OTHER_SIDE[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
