"""KITTI's precision at 41 recalls, and its averages."""

from __future__ import annotations

from itertools import product

import numpy as np

from lightning_centernet.metrics.kitti_matching import Candidates
from lightning_centernet.metrics.kitti_overlap import Overlaps, measure
from lightning_centernet.metrics.kitti_rules import (
    DONT_CARE,
    Detections,
    Flags,
    Floats,
    Integers,
    Roles,
    Rules,
    Targets,
    cast,
    minimal_overlaps,
)

POINTS = 41  # recalls 0, 1/40, ..., 1
UNDEFINED = {11: -1.0, 40: -1.0}  # there is nothing to find


def evaluate(detections: Detections, targets: Targets, rules: Rules) -> dict[str, float]:
    """Compute all average precisions, in percent, under names like `Car/3d_ap40_moderate_iou0.7`, and depth errors."""
    overlaps, measures = measure(detections, targets), _measures(detections, targets)
    scores: dict[str, float] = {}
    for (label, name), difficulty in product(enumerate(rules.classes), rules.difficulties):
        roles = cast(detections, targets, rules.types, label, difficulty)
        for measured in measures:
            pairs = overlaps["bbox" if measured == "aos" else measured]
            for minimum in minimal_overlaps(rules.types[label], measured):
                curve = _curve(detections, targets, pairs, roles, minimum, oriented=measured == "aos")
                averages = _averages(curve) if roles.wanted.any() else UNDEFINED
                for points, average in averages.items():
                    scores[f"{name}/{measured}_ap{points}_{difficulty.name}_iou{minimum:g}"] = average
        if "3d" in measures:
            errors = depth_errors(detections, targets, overlaps["bbox"], roles)
            scores |= {f"{name}/depth_error_{unit}_{difficulty.name}_iou0.5": error for unit, error in errors.items()}
    return scores


def depth_errors(detections: Detections, targets: Targets, overlaps: Overlaps, roles: Roles) -> dict[str, float]:
    """Average the errors of depths, in metres and relative to the true depth, over the objects that are found.

    An object is found by the best-scored detection of its class, however low its score, that overlaps it by more than
    0.5 in the image. KITTI has no such measure; nuScenes' errors of true positives are its model (Caesar et al. 2020,
    nuScenes, section 3.1), where a detection must lie within 2 m instead, and recalls are averaged over.

    Args:
        detections: what was found.
        targets: what is there.
        overlaps: in the image.
        roles: which of them count.

    Returns:
        `metres` and `relative`; nan if nothing is found.
    """
    pairs = overlaps.keep((overlaps.iou > 0.5) & roles.wanted[overlaps.targets] & roles.claims[overlaps.detections])
    scores = detections.scores[pairs.detections]
    candidates = Candidates(pairs.detections, pairs.targets, targets.images[pairs.targets], scores)
    found = pairs.keep(candidates.match(scores, np.array([-np.inf]))[:, 0])
    depths, true_depths = detections.solids[found.detections, 2], targets.solids[found.targets, 2]
    errors = np.abs(depths - true_depths)
    known = np.isfinite(errors)
    if not known.any():
        return {"metres": float("nan"), "relative": float("nan")}
    return {"metres": float(errors[known].mean()), "relative": float((errors / true_depths)[known].mean())}


def recall_thresholds(scores: Floats, wanted: int) -> Floats:
    """Choose the scores where the recall comes nearest to 0, 1/40, 2/40, ...

    Args:
        scores: of the true positives, descending.
        wanted: the number of targets to find.

    Returns:
        At most 41 scores, descending. With fewer than 40 targets several recalls have the same nearest score, which is
        taken once only: the rest of the 41 precisions stays 0, and even perfect detections score below 100.
    """
    thresholds: list[float] = []
    recall = 0.0
    for number, score in enumerate(scores.tolist(), start=1):
        here, next_one, last = number / wanted, (number + 1) / wanted, number == len(scores)
        if last or next_one - recall >= recall - here:
            thresholds.append(score)
            recall += 1 / (POINTS - 1)
    return np.array(thresholds)


def _measures(detections: Detections, targets: Targets) -> list[str]:
    """List what can be measured: orientation if no detection lacks it, space if any is there."""
    meant = targets.labels >= 0
    oriented = detections.oriented.all() and targets.oriented[meant].all()
    solid = all(not len(flags) or flags.any() for flags in (detections.solid, targets.solid[meant]))
    return ["bbox"] + ["aos"] * bool(oriented) + ["bev", "3d"] * bool(solid)


def _curve(
    detections: Detections, targets: Targets, overlaps: Overlaps, roles: Roles, minimum: float, *, oriented: bool
) -> Floats:
    """Compute (41,) precisions, or the same with each true positive weighted by its orientation."""
    pairs = overlaps.keep(
        (overlaps.iou > minimum)
        & (roles.wanted | roles.tolerated)[overlaps.targets]
        & (roles.claims | roles.small)[overlaps.detections]
    )
    scores = detections.scores[pairs.detections]
    candidates = Candidates(pairs.detections, pairs.targets, targets.images[pairs.targets], scores)
    right = roles.wanted[pairs.targets] & roles.claims[pairs.detections]
    # First each target takes the best score, to find the thresholds; then, at each of them, the best overlap, and a
    # small detection only for want of another.
    found = candidates.match(scores, np.array([-np.inf]))[:, 0]
    thresholds = recall_thresholds(np.sort(scores[found & right])[::-1], int(roles.wanted.sum()))
    preference = np.where(roles.claims[pairs.detections], pairs.iou, 0.0)
    matched = candidates.match(preference, thresholds)

    punishable = roles.claims & ~_in_regions(overlaps, targets, minimum, len(detections.scores))
    punished = _count_at_least(detections.scores[punishable], thresholds)
    punished -= matched[punishable[pairs.detections]].sum(0)
    true = matched[right]
    turns = targets.alphas[pairs.targets[right]] - detections.alphas[pairs.detections[right]]
    similarity = (1 + np.cos(turns)) / 2 if oriented else np.ones(len(turns))
    # None may count where a score's detection now is an ignored target's: the benchmark's program says nan.
    return _envelope(true.T @ similarity / np.maximum(true.sum(0) + punished, 1))


def _in_regions(overlaps: Overlaps, targets: Targets, minimum: float, detections: int) -> Flags:
    """Tell which detections lie where nothing is labelled."""
    inside = np.zeros(detections, bool)
    regions = targets.labels[overlaps.targets] == DONT_CARE
    inside[overlaps.detections[regions & (overlaps.covered > minimum)]] = True
    return inside


def _count_at_least(scores: Floats, thresholds: Floats) -> Integers:
    return len(scores) - np.searchsorted(np.sort(scores), thresholds)


def _envelope(values: Floats) -> Floats:
    """Fill up to (41,) with 0, and raise each value to the largest that follows."""
    curve = np.pad(values, (0, POINTS - len(values)))
    envelope: Floats = np.maximum.accumulate(curve[::-1])[::-1]
    return envelope


def _averages(curve: Floats) -> dict[int, float]:
    """Average over the 11 recalls 0, 0.1, ..., 1 (until 2019), and over the 40 from 1/40 to 1 (since)."""
    return {11: float(100 * curve[::4].sum() / 11), 40: float(100 * curve[1:].sum() / 40)}
