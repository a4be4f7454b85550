"""KITTI's rules: which objects count, which may be matched without counting, and what has to overlap how much.

Geiger, Lenz and Urtasun, "Are we ready for autonomous driving? The KITTI vision benchmark suite", CVPR 2012; in detail
as the benchmark's own evaluation program has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.errors import UserError

TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare")
RULED = ("Car", "Pedestrian", "Cyclist")  # the types that the benchmark evaluates
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}  # too similar to hold a confusion against anyone
DONT_CARE = -1  # label of a region where nothing is labelled
UNRELATED = -2  # label of an object that is of no class of ours

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Difficulty:
    """Limits that an object keeps to if it counts."""

    name: str
    height: float  # pixels, at least
    occlusion: float  # at most; 0 visible, 1 partly, 2 largely occluded, 3 unknown
    truncation: float  # share outside the image, at most


DIFFICULTIES = (Difficulty("easy", 40, 0, 0.15), Difficulty("moderate", 25, 1, 0.3), Difficulty("hard", 25, 2, 0.5))
HEIGHTS = tuple(difficulty.height for difficulty in DIFFICULTIES)


@dataclass(frozen=True)
class Rules:
    """What is measured by which of the benchmark's rules."""

    classes: tuple[str, ...]  # by label
    types: tuple[str, ...]  # by label, in lower case: those of RULED whose rules hold, or else the class's own name
    difficulties: tuple[Difficulty, ...]


def make_rules(
    classes: Sequence[str], types: Mapping[str, str] | None = None, heights: Sequence[float] = HEIGHTS
) -> Rules:
    """Put rules together.

    Args:
        classes: names by label.
        types: classes of other names than the benchmark's, and the type of `RULED` whose rules they have.
        heights: of the difficulties, in pixels.

    Raises:
        UserError: `types` names a class or a type that is none, or `heights` are not three numbers above 0.
    """
    types = {} if types is None else types
    if not isinstance(types, Mapping):
        raise UserError(f"metrics.rules={types}: must map classes to {', '.join(RULED)}, such as {{vehicle: Car}}")
    for name, kind in types.items():
        if name not in classes:
            raise UserError(f"metrics.rules names {name!r}, which is none of the classes {', '.join(classes)}")
        if kind not in RULED:
            raise UserError(f"metrics.rules={{{name}: {kind}}}: KITTI has rules for {', '.join(RULED)} only")
    given = list(heights) if isinstance(heights, Sequence) else [heights]
    if len(given) != len(DIFFICULTIES) or not all(isinstance(pixels, int | float) and pixels > 0 for pixels in given):
        raise UserError(f"metrics.heights={given}: must be pixels for easy, moderate and hard: {list(HEIGHTS)}")
    limits = zip(DIFFICULTIES, heights, strict=True)
    return Rules(
        classes=tuple(classes),
        types=tuple(types.get(name, name).casefold() for name in classes),
        difficulties=tuple(replace(difficulty, height=height) for difficulty, height in limits),
    )


@dataclass(frozen=True)
class Objects:
    """Objects of all images, each image's together and in their order in the file."""

    images: Integers  # (n,) ascending
    labels: Integers  # (n,)
    boxes: Floats  # (n, 4) x1, y1, x2, y2 in pixels
    alphas: Floats  # (n,) radians
    solids: Floats  # (n, 7) x, y, z of the bottom's middle, height, width, length, rotation_y

    @property
    def heights(self) -> Floats:
        """Heights in the image, negative where a box is upside down."""
        return self.boxes[:, 3] - self.boxes[:, 1]

    @property
    def oriented(self) -> Flags:
        """Which have an orientation; KITTI writes -10 for none."""
        return np.asarray(np.isfinite(self.alphas) & (self.alphas != -10))

    @property
    def solid(self) -> Flags:
        """Which have a box in space, be it an impossible one; KITTI writes -1000 for none."""
        return np.asarray(np.isfinite(self.solids).all(1) & (self.solids[:, 0] != -1000))


@dataclass(frozen=True)
class Detections(Objects):
    """What was found."""

    scores: Floats


@dataclass(frozen=True)
class Targets(Objects):
    """What is there; labels may be DONT_CARE or UNRELATED."""

    ignore: Flags  # of a neighbouring class: may be found as one of its label, need not
    truncation: Floats
    occlusion: Floats


@dataclass(frozen=True)
class Roles:
    """The part that each object plays for one class at one difficulty."""

    wanted: Flags  # targets: to be found
    tolerated: Flags  # targets: may be found; neighbours, and what is too small, truncated or occluded
    claims: Flags  # detections: right or wrong
    small: Flags  # detections: neither right nor wrong; they can still find something, whatever their class


def cast(detections: Detections, targets: Targets, types: Sequence[str], label: int, difficulty: Difficulty) -> Roles:
    """Give each object its part."""
    hard = (
        (targets.occlusion > difficulty.occlusion)
        | (targets.truncation > difficulty.truncation + 1e-6)  # float32's 0.3 is larger than 0.3
        | (targets.heights < difficulty.height)
    )
    same = targets.labels == label
    neighbour = NEIGHBOURS.get(types[label])
    similar = targets.labels == types.index(neighbour) if neighbour in types else np.zeros_like(same)
    wanted = same & ~targets.ignore & ~hard
    small = np.abs(detections.heights) < difficulty.height
    return Roles(wanted, (same | similar) & ~wanted, (detections.labels == label) & ~small, small)


def minimal_overlaps(kind: str, measure: str) -> tuple[float, ...]:
    """List the overlaps that a match must exceed: the benchmark's, then a relaxed one that 3D papers add."""
    strict, relaxed = (0.7, 0.5) if kind == "car" else (0.5, 0.25)
    return (strict,) if measure in ("bbox", "aos") else (strict, relaxed)


def labels_of_types(classes: Sequence[str]) -> tuple[list[int], list[bool]]:
    """Translate TYPES into labels of our classes, and say which are only their neighbours."""
    names = [name.casefold() for name in classes]
    neighbours = {neighbour: names.index(name) for name, neighbour in NEIGHBOURS.items() if name in names}
    types = [name.casefold() for name in TYPES]
    known = {"dontcare": DONT_CARE} | neighbours | {name: label for label, name in enumerate(names)}
    labels = [known.get(name, UNRELATED) for name in types]
    return labels, [name in neighbours and name not in names for name in types]
