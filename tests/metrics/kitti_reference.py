"""KITTI's rules once more, slowly: one object, one detection, one threshold at a time, on lines of its files."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tests.geometry.polygons import area, clip, rectangle

LIMITS = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.30), "hard": (25, 2, 0.50)}
SIMILAR = {"Car": "Van", "Pedestrian": "Person_sitting"}


class Line(NamedTuple):
    """A line of a label or result file; sizes height, width, length; place x, y, z."""

    type: str
    truncation: float
    occlusion: int
    alpha: float
    box: tuple[float, ...]
    size: tuple[float, ...]
    place: tuple[float, ...]
    rotation: float
    score: float = 0.0


def footprint(line):
    _, width, length = line.size
    return rectangle(line.place[0], line.place[2], length, width, line.rotation)


def overlap(found, meant, kind, *, over_found=False):
    """Intersection over union, or over the detection alone."""
    if kind == "bbox":
        (a1, b1, a2, b2), (c1, d1, c2, d2) = found.box, meant.box
        width, height = min(a2, c2) - max(a1, c1), min(b2, d2) - max(b1, d1)
        shared = width * height if width > 0 and height > 0 else 0
        sizes = (a2 - a1) * (b2 - b1), (c2 - c1) * (d2 - d1)
    else:
        if min(found.size) <= 0 or min(meant.size) <= 0:
            return 0.0
        shared = area(clip(*(footprint(line) for line in (found, meant))))
        sizes = tuple(line.size[1] * line.size[2] for line in (found, meant))
        if kind == "3d":
            top = max(line.place[1] - line.size[0] for line in (found, meant))
            shared *= max(0.0, min(found.place[1], meant.place[1]) - top)
            sizes = tuple(math.prod(line.size) for line in (found, meant))
    return shared / (sizes[0] if over_found else sizes[0] + sizes[1] - shared) if shared > 0 else 0.0


def roles(found, meant, name, difficulty):
    """For each line 0 (counts), 1 (may be matched) or -1 (not concerned)."""
    least, occlusion, truncation = LIMITS[difficulty]
    objects = []
    for line in meant:
        hard = line.occlusion > occlusion or line.truncation > truncation or line.box[3] - line.box[1] < least
        if line.type.lower() == name.lower():
            objects.append(1 if hard else 0)
        else:
            objects.append(1 if line.type == SIMILAR.get(name) else -1)
    claims = []
    for line in found:
        small = int(abs(line.box[1] - line.box[3])) < least
        claims.append(1 if small else 0 if line.type.lower() == name.lower() else -1)
    return claims, objects


class Frame:
    """One image, for one class, difficulty and kind of overlap."""

    def __init__(self, found, meant, name, difficulty, kind, minimum):
        self.found, self.meant, self.minimum = found, meant, minimum
        self.claims, self.objects = roles(found, meant, name, difficulty)
        self.iou = [[overlap(f, m, kind) for f in found] for m in meant]
        regions = [m for m in meant if m.type == "DontCare"]
        self.excused = [any(overlap(f, m, kind, over_found=True) > minimum for m in regions) for f in found]

    def best_scores(self):
        """Match by score; the scores of true positives."""
        taken, scores = set(), []
        for i, role in enumerate(self.objects):
            best = None
            for j, claim in enumerate(self.claims):
                if role < 0 or claim < 0 or j in taken or self.iou[i][j] <= self.minimum:
                    continue
                if best is None or self.found[j].score > self.found[best].score:
                    best = j
            if best is not None:
                taken.add(best)
                if role == 0 and self.claims[best] == 0:
                    scores.append(self.found[best].score)
        return scores

    def count(self, threshold):
        """Match by overlap; true positives, false positives, orientation similarity."""
        there = [line.score >= threshold for line in self.found]
        taken, true, similarity = set(), 0, 0.0
        for i, role in enumerate(self.objects):
            free = [
                j
                for j, claim in enumerate(self.claims)
                if role >= 0 and claim >= 0 and there[j] and j not in taken and self.iou[i][j] > self.minimum
            ]
            counting = [j for j in free if self.claims[j] == 0]
            if not free:
                continue
            best = counting[0] if counting else free[0]
            for j in counting:
                if self.iou[i][j] > self.iou[i][best]:
                    best = j
            taken.add(best)
            if role == 0 and self.claims[best] == 0:
                true += 1
                similarity += (1 + math.cos(self.meant[i].alpha - self.found[best].alpha)) / 2
        false = sum(
            claim == 0 and there[j] and j not in taken and not self.excused[j] for j, claim in enumerate(self.claims)
        )
        return true, false, similarity


def average_precision(frames, name, difficulty, kind, minimum):
    """AP11, AP40 and the same of orientation, in percent; None if there is nothing to find."""
    frames = [Frame(found, meant, name, difficulty, kind, minimum) for found, meant in frames]
    wanted = sum(frame.objects.count(0) for frame in frames)
    if not wanted:
        return None
    scores = sorted((score for frame in frames for score in frame.best_scores()), reverse=True)
    precision, orientation, recall = [0.0] * 41, [0.0] * 41, 0.0
    position = 0
    for i, score in enumerate(scores):
        right = (i + 2) / wanted if i < len(scores) - 1 else (i + 1) / wanted
        if right - recall < recall - (i + 1) / wanted and i < len(scores) - 1:
            continue
        recall += 1 / 40
        true, false, similarity = np.sum([frame.count(score) for frame in frames], axis=0)
        if true + false:
            precision[position], orientation[position] = true / (true + false), similarity / (true + false)
        position += 1
    curves = [[max(curve[i:]) for i in range(41)] for curve in (precision, orientation)]
    return tuple(100 * value for curve in curves for value in (sum(curve[::4]) / 11, sum(curve[1:]) / 40))
