"""The loss of a task, forward and backward, from outputs to their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measure import Rival
from benchmarks.plain.losses import total_loss
from benchmarks.table import Case
from lightning_centernet import GenericLoss, standard_heads
from lightning_centernet.testing import fake_batch, fake_outputs

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Task(NamedTuple):
    """A task at its published size."""

    heads: dict[str, int]
    batch_size: int
    grid: tuple[int, int]
    slots: int


BOX3D = {"dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2, "dep_sec": 1, "rot_sec": 8, "nuscenes_att": 8, "velocity": 3}
COCO = Task({"hm": 80, "reg": 2, "wh": 2}, 8, (128, 128), 128)
POSE = Task({"hm": 1, "reg": 2, "wh": 2, "hps": 34, "hm_hp": 17, "hp_offset": 2}, 8, (128, 128), 32)
NUSCENES = Task({"hm": 10, "reg": 2, "wh": 2} | BOX3D, 4, (112, 200), 128)
MOT = Task({"hm": 1, "reg": 2, "wh": 2, "tracking": 2, "ltrb_amodal": 4}, 4, (136, 240), 256)


def cases() -> Iterator[Case]:
    """Compare at the published sizes; then in other layouts, and without a compiler."""
    yield case("coco f32", COCO, (12, 20))
    yield case("coco bf16", COCO, (15, 25), dtype=torch.bfloat16)
    yield case("pose", POSE, (8, 13))
    yield case("nuScenes", NUSCENES, (5, 8))
    yield case("MOT", MOT, (2.3, 4))
    for name, task in (("coco", COCO), ("nuScenes", NUSCENES)):
        yield case(f"{name} channels last", task, None, layout=torch.channels_last)
        yield case(f"{name} heat map not", task, None, layout=torch.channels_last, alike=False)
    yield case("coco f32 no compiler", COCO, (8,), compiler=False)


def case(
    name: str,
    task: Task,
    target: tuple[float, ...] | None,
    *,
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format,
    alike: bool = True,
    compiler: bool = True,
) -> Case:
    """Set up one row, and compare the gradients; the heat map lies as the outputs do, if `alike`."""
    heads = standard_heads(task.heads)
    size = {"batch_size": task.batch_size, "grid": task.grid}
    batch = _on_device(fake_batch(heads, objects=task.slots // 2, slots=task.slots, **size))
    batch["hm"] = batch["hm"].clone(memory_format=layout if alike else torch.contiguous_format)
    logits = {
        name: output.to(DEVICE, dtype, memory_format=layout) for name, output in fake_outputs(heads, **size).items()
    }
    criterion, weights = GenericLoss(heads).to(DEVICE), {name: head.weight for name, head in heads.items()}

    def ours(outputs: dict[str, Tensor]) -> Tensor:
        return criterion(outputs, batch)[0]

    plain = Training(logits, lambda outputs: total_loss(outputs, batch, weights))
    mine = Training(logits, ours if compiler else torch.compiler.set_stance("force_eager")(ours))
    label = f"B{task.batch_size} C{task.heads['hm']} {task.grid[0]}x{task.grid[1]} M{task.slots}"
    unit = sum(values.nbytes for values in logits.values())
    return Case(f"loss {name}", label, plain.rival, mine.rival, target, unit, _difference(plain, mine))


class Training:
    """Run a loss, forward and backward, on outputs that it may change in place."""

    def __init__(self, logits: dict[str, Tensor], loss: Callable[[dict[str, Tensor]], Tensor]) -> None:
        self.logits = logits
        self.loss = loss
        self.gradients: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self._storage = {name: values.clone() for name, values in logits.items()}
        self._anchor = torch.zeros((), device=DEVICE, requires_grad=True)

    @property
    def rival(self) -> Rival:
        """Take part in a comparison."""
        return Rival(self.run, self.restore)

    def restore(self) -> None:
        """Bring the logits back, and forget the gradients."""
        self.gradients.clear()
        self.outputs = {
            name: _LastLayer.apply(self._anchor, self._storage[name].copy_(values), self.gradients, name)
            for name, values in self.logits.items()
        }
        self._storage = {name: output.detach() for name, output in self.outputs.items()}

    def run(self) -> None:
        """Compute the gradients."""
        self.loss(self.outputs).backward()


class _LastLayer(torch.autograd.Function):
    # Stands for the layer that gives an output: not a leaf, so that it may be changed in place; it takes the gradient.

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, values: Tensor, gradients: dict[str, Tensor], name: str) -> Tensor:
        ctx.mark_dirty(values)
        ctx.keep = gradients, name
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        gradients, name = ctx.keep
        gradients[name] = gradient
        return None, None, None, None


def _difference(plain: Training, ours: Training) -> float:
    for rival in (plain, ours):
        rival.restore()
        rival.run()
    return max(float((plain.gradients[name] - gradient).abs().max()) for name, gradient in ours.gradients.items())


def _on_device(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: values.to(DEVICE) for name, values in batch.items()}
