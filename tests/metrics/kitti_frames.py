"""Random frames in the form of KITTI's files, crowded enough for objects and detections to compete."""

from __future__ import annotations

import numpy as np
import torch

from lightning_centernet.metrics.kitti_rules import TYPES
from tests.metrics.kitti_reference import Line

CLASSES = ("Car", "Pedestrian", "Cyclist")
SIZES = {"Car": (1.5, 1.6, 3.9), "Pedestrian": (1.8, 0.6, 0.8), "Cyclist": (1.7, 0.6, 1.8)}
SHAPES = SIZES | {"Van": (2.2, 1.9, 5.0), "Truck": (3.0, 2.6, 9.0), "Person_sitting": (1.2, 0.6, 0.8)}


def fake_frames(number, seed=0, objects=6, strays=3):
    """Make (detections, labels) of images; some hold nothing, in some nothing is found."""
    random = np.random.default_rng(seed)
    return [fake_frame(random, 0 if i % 7 == 2 else objects, strays, blind=i % 7 == 4) for i in range(number)]


def fake_frame(random, objects, strays, *, blind):
    meant = []
    for _ in range(objects):
        if meant and random.random() < 0.3:  # beside another one, so that both want the same detections
            meant.append(moved(random, meant[-1], 0.5))
        else:
            meant.append(fake_object(random))
    found = [moved(random, line, 1.0) for line in meant for _ in range(random.integers(0, 4))]
    found += [fake_object(random) for _ in range(strays)]
    found = [as_found(random, line) for line in found]
    random.shuffle(found)
    corners = random.uniform(0, 800, (2, 2)).round(2)
    regions = [region((*corner, *(corner + random.uniform(50, 300, 2)).round(2))) for corner in corners]
    meant = [*meant[:2], *regions, *meant[2:]]
    return ([] if blind else found), (meant if objects else [])


def fake_object(random):
    name = random.choice(list(SHAPES), p=[0.4, 0.25, 0.15, 0.1, 0.05, 0.05])
    corner = random.uniform((0, 100), (1000, 250))
    height = random.choice([24.0, 25.0, 30.0, 39.9, 40.0, 60.0, 120.0])
    box = (*corner, corner[0] + height * random.uniform(0.4, 1.8), corner[1] + height)
    place = random.uniform((-10, 1.4, 5), (10, 1.9, 40))
    alpha, rotation = random.uniform(-3.14, 3.14, 2)
    truncation, occlusion = random.choice([0, 0, 0.15, 0.3, 0.5, 0.6]), random.choice([0, 0, 0, 1, 2, 3])
    size = np.array(SHAPES[name]) * random.uniform(0.9, 1.1, 3)
    return rounded(Line(name, truncation, int(occlusion), alpha, box, tuple(size), tuple(place), rotation))


def moved(random, line, amount):
    height = line.box[3] - line.box[1]
    return rounded(
        line._replace(
            box=tuple(np.array(line.box) + amount * height * random.normal(0, 0.06, 4)),
            alpha=line.alpha + amount * random.normal(0, 0.5),
            size=tuple(np.array(line.size) * (1 + amount * random.normal(0, 0.05, 3))),
            place=tuple(np.array(line.place) + amount * random.normal(0, 0.2, 3) * (1, 0.5, 1)),
            rotation=line.rotation + amount * random.normal(0, 0.1),
        )
    )


def as_found(random, line):
    name = line.type if line.type in CLASSES and random.random() < 0.9 else random.choice(CLASSES)
    return line._replace(type=str(name), score=float(random.integers(1, 40) / 40))  # with ties


def region(box):
    return Line("DontCare", -1, -1, -10, box, (-1.0,) * 3, (-1000.0,) * 3, -10)


def rounded(line):
    values = {
        name: tuple(float(v) for v in np.round(getattr(line, name), 2))
        if isinstance(getattr(line, name), tuple)
        else getattr(line, name)
        for name in line._fields
    }
    return Line(**values)._replace(alpha=float(np.round(line.alpha, 2)), rotation=float(np.round(line.rotation, 2)))


def as_tensors(lines, dtype=torch.float64):
    """The fields that detections and annotations share."""

    def column(values, width):
        return torch.tensor(values, dtype=dtype).reshape(len(lines), *width)

    return {
        "boxes": column([line.box for line in lines], (4,)),
        "alpha": column([line.alpha for line in lines], ()),
        "location": column([line.place for line in lines], (3,)),
        "dimensions": column([line.size for line in lines], (3,)),
        "rotation_y": column([line.rotation for line in lines], ()),
    }


def as_prediction(found, dtype=torch.float64):
    labels = torch.tensor([CLASSES.index(line.type) for line in found], dtype=torch.int64)
    return as_tensors(found, dtype) | {"labels": labels, "scores": torch.tensor([f.score for f in found], dtype=dtype)}


def as_target(meant, image_id, dtype=torch.float64):
    return as_tensors(meant, dtype) | {
        "types": torch.tensor([TYPES.index(line.type) for line in meant], dtype=torch.int64),
        "truncation": torch.tensor([line.truncation for line in meant], dtype=dtype),
        "occlusion": torch.tensor([line.occlusion for line in meant], dtype=torch.int64),
        "labels": torch.zeros(len(meant), dtype=torch.int64),
        "image_id": torch.tensor(image_id),
    }
