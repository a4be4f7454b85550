"""Where the time of a whole training step goes, with the plain parts and with ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.losses import DEVICE
from benchmarks.measure import seconds
from benchmarks.pipeline import picture
from benchmarks.plain import pipeline as plain_input
from benchmarks.plain.encoding import batch_targets
from benchmarks.plain.losses import total_loss
from benchmarks.table import milliseconds
from lightning_centernet import CenterNet, GenericLoss
from lightning_centernet.data import Augmentation, Sample, Transform
from lightning_centernet.data.collate import collate
from lightning_centernet.preparation import normalize, prepare
from lightning_centernet.types import Batch

BATCH_SIZE, CLASSES, SIZE, OBJECTS, SLOTS = 4, 80, (256, 256), 10, 128
MEAN, STD = plain_input.MEAN.tolist(), plain_input.STD.tolist()
PARTS = ("input", "targets", "network", "loss", "optimizer")


def rows(repeats: int) -> Iterator[tuple[str, ...]]:
    """Train with each in turns; a row for each part of a step, with its share."""
    steps = [Step(kind) for kind in (Plain, Ours)]
    times = [[step.run() for step in steps] for _ in range(repeats + 2)][2:]
    plain, ours = ({part: statistics.median(both[turn][part] for both in times) for part in PARTS} for turn in (0, 1))
    size = f"B{BATCH_SIZE} C{CLASSES} {SIZE[0]}x{SIZE[1]} resnet18"
    for part in (*PARTS, "all"):
        theirs, mine = (sum(each.values()) if part == "all" else each[part] for each in (plain, ours))
        shares = " / ".join(f"{t / sum(each.values()):.1%}" for t, each in ((theirs, plain), (mine, ours)))
        what = f"step, {part}: {shares}"
        yield (what, size, milliseconds(theirs), milliseconds(mine), f"{theirs / mine:.1f}", "", "", "", "", "")


class Plain:
    """The originals' parts."""

    def __init__(self, model: CenterNet) -> None:
        self.weights = {name: head.weight for name, head in model.heads.items()}

    def input(self, images: list[Any], boxes: list[Any], labels: list[Any]) -> Batch:
        """Make the network's input, and keep the objects in output cells."""
        inputs = [plain_input.network_input(image, SIZE, np.random.default_rng(n)) for n, image in enumerate(images)]
        return {"image": plain_input.batch(inputs).to(DEVICE), "objects": ([each / 4 for each in boxes], labels)}

    def targets(self, batch: Batch) -> Batch:
        """Encode the objects."""
        targets = batch_targets(*batch["objects"], CLASSES, (SIZE[0] // 4, SIZE[1] // 4), SLOTS)
        return batch | {name: values.to(DEVICE) for name, values in targets.items()}

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Compute the loss; the heat map may be changed in place."""
        return total_loss({name: output.clone() for name, output in outputs.items()}, batch, self.weights)


class Ours:
    """This package's parts."""

    def __init__(self, model: CenterNet) -> None:
        self.heads = model.heads
        self.criterion = GenericLoss(model.heads)
        self.transform = Transform(SIZE, Augmentation())

    def input(self, images: list[Any], boxes: list[Any], labels: list[Any]) -> Batch:
        """Make the network's input."""
        items = []
        for number, objects in enumerate(zip(boxes, labels, strict=True)):
            annotations = dict(zip(("boxes", "labels"), objects, strict=True)) | {"ignore": np.zeros(OBJECTS, bool)}
            sample = Sample(images[number], annotations, number, "")
            items.append(self.transform(sample, np.random.default_rng(number)))
        batch = collate(items, SLOTS)
        image, color = batch["image"].to(DEVICE), batch["color"].to(DEVICE)
        annotations = {name: values.to(DEVICE) for name, values in batch["annotations"].items()}
        return {"image": normalize(image, MEAN, STD, color), "annotations": annotations}

    def targets(self, batch: Batch) -> Batch:
        """Encode the annotations."""
        return prepare(batch, self.heads, 4, MEAN, STD)

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Compute the loss."""
        return self.criterion(outputs, batch)[0]


class Step:
    """A training step whose parts are timed one by one."""

    def __init__(self, kind: type[Plain] | type[Ours]) -> None:
        torch.manual_seed(0)
        self.model = CenterNet({"name": "resnet18"}, {"hm": CLASSES, "wh": 2, "reg": 2}, input_size=SIZE).to(DEVICE)
        self.parts = kind(self.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1.25e-4)
        chance = np.random.default_rng(0)
        corners = chance.random((BATCH_SIZE, OBJECTS, 2)) * 180
        self.boxes = list(np.float32(np.concatenate([corners, corners + 10 + 60 * chance.random(corners.shape)], -1)))
        self.labels = list(chance.integers(0, CLASSES, (BATCH_SIZE, OBJECTS)))
        self.images = [picture()] * BATCH_SIZE

    def run(self) -> dict[str, float]:
        """Return the seconds that each part takes."""
        times, found = dict.fromkeys(PARTS, 0.0), dict[str, Any]()

        def timed(part: str, job: Callable[[], Any]) -> Any:
            times[part] += seconds(lambda: found.update(result=job()))
            return found.pop("result")

        batch = timed("input", lambda: self.parts.input(self.images, self.boxes, self.labels))
        batch = timed("targets", lambda: self.parts.targets(batch))
        outputs = timed("network", lambda: self.model(batch["image"])[-1])
        leaves = {name: output.detach().requires_grad_() for name, output in outputs.items()}
        timed("loss", lambda: self.parts.loss(leaves, batch).backward())
        gradients = [leaves[name].grad for name in outputs]
        timed("network", lambda: torch.autograd.backward(list(outputs.values()), gradients))
        timed("optimizer", lambda: (self.optimizer.step(), self.optimizer.zero_grad()))
        return times
