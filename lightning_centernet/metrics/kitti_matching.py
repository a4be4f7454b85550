"""KITTI's greedy matching, for all images and score thresholds at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_centernet.metrics.kitti_rules import Flags, Floats, Integers


@dataclass(frozen=True)
class Candidates:
    """Pairs (p,) of a target and a detection that may be matched, by target and then by detection."""

    detections: Integers
    targets: Integers
    images: Integers  # ascending
    scores: Floats

    def match(self, preference: Floats, thresholds: Floats) -> Flags:
        """Let the targets of each image, one after the other, take the detection they prefer among those still free.

        Args:
            preference: (p,) the largest wins, the first of equals.
            thresholds: (t,) detections with less score are not there.

        Returns:
            (p, t) which pairs are matched.
        """
        matched = np.zeros((len(self.scores), len(thresholds)), bool)
        taken = np.zeros((self.detections.max(initial=-1) + 1, len(thresholds)), bool)
        table, turns = _by_target(self.targets, self.images)
        for turn in range(turns.max(initial=-1) + 1):
            candidates = table[turns == turn]  # (m, c): one target of each image that still has one
            free = (candidates >= 0)[..., None] & (self.scores[candidates][..., None] >= thresholds)
            free &= ~taken[self.detections[candidates]]
            best = np.where(free, preference[candidates][..., None], -np.inf).argmax(1)  # (m, t)
            rows, columns = free.any(1).nonzero()
            chosen = candidates[rows, best[rows, columns]]
            matched[chosen, columns] = True
            taken[self.detections[chosen], columns] = True
        return matched


def _by_target(targets: Integers, images: Integers) -> tuple[Integers, Integers]:
    """Line up the pairs of each target.

    Returns:
        (g, c) indices of each target's pairs, the rest -1; (g,) the target's place among those of its image.
    """
    firsts = np.flatnonzero(np.diff(targets, prepend=-1))
    counts = np.diff(firsts, append=len(targets))
    rows = np.repeat(np.arange(len(firsts)), counts)
    table = np.full((len(firsts), counts.max(initial=0)), -1)
    table[rows, np.arange(len(targets)) - firsts[rows]] = np.arange(len(targets))
    target_images = images[firsts]
    return table, np.arange(len(firsts)) - np.searchsorted(target_images, target_images)
