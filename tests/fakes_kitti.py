"""Fake frames of KITTI's object benchmark, written in their true format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

P2 = np.array([[90.0, 0, 80, 6.5], [0, 90, 24, -0.2], [0, 0, 1, 0.003]])
DONT_CARE = "DontCare -1 -1 -10 100.00 20.00 110.00 26.00 -1 -1 -1 -1000 -1000 -1000 -10"


class FakeBox(NamedTuple):
    """An object on the road; its 2D box and alpha follow from the camera."""

    type: str
    location: tuple[float, float, float]
    dimensions: tuple[float, float, float]
    rotation_y: float

    def pixels(self, points: np.ndarray) -> np.ndarray:
        seen = points @ P2[:, :3].T + P2[:, 3]
        return seen[:, :2] / seen[:, 2:]

    @property
    def corners(self) -> np.ndarray:
        height, width, length = self.dimensions
        signs = np.array([(a, b, c) for a in (-0.5, 0.5) for b in (-1, 0) for c in (-0.5, 0.5)])
        x, y, z = (signs * (length, height, width)).T
        cos, sin = np.cos(self.rotation_y), np.sin(self.rotation_y)
        return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1) + self.location

    @property
    def box(self) -> list[float]:
        pixels = self.pixels(self.corners)
        return [*pixels.min(0), *pixels.max(0)]

    @property
    def middle(self) -> np.ndarray:
        return self.pixels(np.array([self.location]) - [[0, self.dimensions[0] / 2, 0]])[0]

    @property
    def alpha(self) -> float:
        return float(self.rotation_y - np.arctan2(self.middle[0] - P2[0, 2], P2[0, 0]))

    @property
    def line(self) -> str:
        numbers = [0.25, self.alpha, *self.box, *self.dimensions, *self.location, self.rotation_y]
        truncation, *others = (f"{number:.4f}" for number in numbers)
        return " ".join([self.type, truncation, "1", *others])


CAR = FakeBox("Car", (-3.0, 1.6, 14.0), (1.5, 1.7, 4.2), 1.2)
PEDESTRIAN = FakeBox("Pedestrian", (2.0, 1.7, 9.0), (1.8, 0.6, 0.8), -0.4)
VAN = FakeBox("Van", (4.0, 1.6, 20.0), (2.1, 1.9, 5.0), -1.6)
SITTING = FakeBox("Person_sitting", (-5.0, 1.6, 12.0), (1.2, 0.6, 0.8), 0.3)
TRAM = FakeBox("Tram", (6.0, 1.6, 40.0), (3.5, 2.3, 15.0), 1.5)
FRAMES = {"000003": [CAR.line, PEDESTRIAN.line, VAN.line, SITTING.line, TRAM.line, DONT_CARE], "000007": []}


def write_kitti(root: Path, frames: Mapping[str, Sequence[str]] = FRAMES, size: tuple[int, int] = (160, 48)) -> Path:
    """Write label lines by frame, pictures of noise and a camera; the splits are train, of all, and val, of one."""
    for name in ("training/image_2", "training/label_2", "training/calib", "ImageSets"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, (stem, lines) in enumerate(frames.items()):
        pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"training/image_2/{stem}.png")
        (root / f"training/label_2/{stem}.txt").write_text("".join(f"{line}\n" for line in lines))
        write_calibration(root / f"training/calib/{stem}.txt", P2)
    (root / "ImageSets/train.txt").write_text("".join(f"{stem}\n" for stem in frames))
    (root / "ImageSets/val.txt").write_text(f"{next(iter(frames))}\n")
    return root


def write_calibration(file: Path, matrix: np.ndarray) -> None:
    rows = {"P0": np.eye(3, 4), "P1": np.eye(3, 4), "P2": matrix, "P3": np.eye(3, 4), "R0_rect": np.eye(3)}
    text = "".join(f"{name}: {' '.join(f'{n:.12e}' for n in values.flatten())}\n" for name, values in rows.items())
    file.write_text(f"{text}\n")
