"""Pictures to network inputs, on one core: reading, warping, colours, normalising, stacking."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import Rival
from benchmarks.plain import pipeline as plain
from benchmarks.table import Case
from lightning_centernet.data import Augmentation, Sample, Transform, read_image
from lightning_centernet.data.collate import collate
from lightning_centernet.preparation import normalize

SIZE, IMAGES, OBJECTS = (512, 512), 8, 10


def cases() -> Iterator[Case]:
    """Compare what a worker does to a picture, then all up to the normalised batch; from pictures, then from files."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "picture.jpg")
        cv2.imwrite(file, picture())
        image = cv2.imread(file)
        yield _case("input, in the worker", (6, 8), lambda: image, lambda: image, at_last=False)
        yield _case("input, normalised and stacked", None, lambda: image, lambda: image)
        yield _case("input, from JPEG files", None, lambda: plain.read(file), lambda: read_image(file))
    torch.set_num_threads(threads)


def _case(
    what: str,
    target: tuple[float, ...] | None,
    read_plain: Callable[[], NDArray],
    read_ours: Callable[[], NDArray],
    *,
    at_last: bool = True,
) -> Case:
    transform = Transform(SIZE, Augmentation())
    chance = np.random.default_rng(0)
    annotations = {
        "boxes": np.float32(chance.random((OBJECTS, 4)) * 200),
        "labels": np.arange(OBJECTS),
        "ignore": np.zeros(OBJECTS, dtype=bool),
    }

    def theirs() -> object:
        images = [plain.network_input(read_plain(), SIZE, np.random.default_rng(seed)) for seed in range(IMAGES)]
        return plain.batch(images) if at_last else images

    def ours() -> object:
        samples = [Sample(read_ours(), annotations, 0, "") for _ in range(IMAGES)]
        items = [transform(sample, np.random.default_rng(seed)) for seed, sample in enumerate(samples)]
        if not at_last:
            return items
        batch = collate(items, max_objects=128)
        return normalize(batch["image"], plain.MEAN.tolist(), plain.STD.tolist(), batch["color"])

    size = f"{IMAGES} of 640x480 to {SIZE[1]}x{SIZE[0]}"
    return Case(what, size, Rival(theirs), Rival(ours), target)


def picture() -> NDArray:
    """Make a picture of 640 x 480 that is neither smooth nor noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
