"""Compare GenericLoss, forward and backward, with the plain transcription: ratios of medians of one interleaved run."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_centernet import GenericLoss, standard_heads
from lightning_centernet.heads import Heads
from lightning_centernet.testing import fake_batch, fake_outputs

sys.path.insert(0, str(Path(__file__).parent))
from plain import plain_loss


class Size(NamedTuple):
    """A task at its published size."""

    heads: dict[str, int]
    batch_size: int
    grid: tuple[int, int]
    slots: int


BOX3D = {"dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2, "dep_sec": 1, "rot_sec": 8, "nuscenes_att": 8, "velocity": 3}
SIZES = {
    "coco": Size({"hm": 80, "reg": 2, "wh": 2}, 8, (128, 128), 128),
    "pose": Size({"hm": 1, "reg": 2, "wh": 2, "hps": 34, "hm_hp": 17, "hp_offset": 2}, 8, (128, 128), 32),
    "nuScenes": Size({"hm": 10, "reg": 2, "wh": 2} | BOX3D, 4, (112, 200), 128),
    "MOT": Size({"hm": 1, "reg": 2, "wh": 2, "tracking": 2, "ltrb_amodal": 4}, 4, (136, 240), 256),
}


def main(repeats: int = 15) -> None:
    """Print one line for each size and type."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; loss forward and backward, {repeats} repeats")
    for name, size in SIZES.items():
        for dtype in (torch.float32, torch.bfloat16):
            plain, ours, error = compare(size, dtype, repeats)
            kind = str(dtype).removeprefix("torch.")
            print(f"{name:9} {kind:9} plain {plain * 1e3:8.1f} ms  ours {ours * 1e3:8.1f} ms  {plain / ours:5.2f}x"
                  f"  values differ by {error:.1e}")  # fmt: skip


def compare(size: Size, dtype: torch.dtype, repeats: int) -> tuple[float, float, float]:
    """Return both medians in seconds, and the relative difference of the losses."""
    heads = standard_heads(size.heads)
    batch = fake_batch(heads, batch_size=size.batch_size, grid=size.grid, objects=size.slots // 2, slots=size.slots)
    outputs = {k: v.to(dtype) for k, v in fake_outputs(heads, batch_size=size.batch_size, grid=size.grid).items()}
    criterion, weights = GenericLoss(heads), _weights(heads)
    rivals: list[Callable[[dict[str, Tensor]], Tensor]] = [
        lambda leaves: plain_loss(leaves, batch, weights),
        lambda leaves: criterion(leaves, batch)[0],
    ]
    times: list[list[float]] = [[], []]
    values = [0.0, 0.0]
    for repeat in range(2 * (repeats + 1)):
        turn = repeat % 2
        leaves = {name: output.clone().requires_grad_() for name, output in outputs.items()}
        start = time.perf_counter()
        loss = rivals[turn](leaves)
        loss.backward()
        times[turn].append(time.perf_counter() - start)
        values[turn] = float(loss)
    plain, ours = (statistics.median(series[1:]) for series in times)  # the first of each warms up
    return plain, ours, abs(values[1] / values[0] - 1)


def _weights(heads: Heads) -> dict[str, float]:
    return {name: head.weight for name, head in heads.items()}


if __name__ == "__main__":
    main()
