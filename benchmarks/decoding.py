"""Detections of a batch: peaks, offsets, sizes, boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from benchmarks.losses import DEVICE
from benchmarks.measure import Rival
from benchmarks.plain.decoding import detections
from benchmarks.table import Case
from lightning_centernet import decode, standard_heads

GRID, PEAKS = (128, 128), 100


def cases() -> Iterator[Case]:
    """Compare on hills such as a trained network's, in one image and in many; then on noise, and in other layouts."""
    yield case("", 8, 80, (8, 15))
    yield case("", 1, 80, (8, 15))
    yield case(" of noise", 8, 80, (8, 15), make=noise)
    yield case(", channels last", 8, 80, None, layout=torch.channels_last)
    yield case(", channels last", 1, 80, None, layout=torch.channels_last)
    yield case("", 8, 1, None)


def case(
    name: str,
    batch_size: int,
    classes: int,
    target: tuple[float, ...] | None,
    *,
    make: Callable[[int, int], Tensor] | None = None,
    layout: torch.memory_format = torch.contiguous_format,
) -> Case:
    """Set up one row, and compare the boxes."""
    heads = standard_heads({"hm": classes, "wh": 2, "reg": 2})
    generator = torch.Generator().manual_seed(0)
    given = {"hm": (make or hills)(batch_size, classes)}
    given |= {name: torch.rand(batch_size, 2, *GRID, generator=generator) * 9 for name in ("wh", "reg")}
    given = {name: values.to(DEVICE, memory_format=layout) for name, values in given.items()}
    outputs = {name: values.clone() for name, values in given.items()}

    def restore() -> None:
        outputs["hm"].copy_(given["hm"])

    plain = Rival(lambda: detections(outputs, PEAKS), restore)
    ours = Rival(lambda: decode(outputs, heads, PEAKS), restore)
    expected, found = detections(outputs, PEAKS), decode(given, heads, PEAKS)
    difference = float((found["boxes"] - expected[2]).abs().amax((1, 2)).median()) if classes > 1 else None
    what = f"decoding{name}"
    size = f"B{batch_size} C{classes} {GRID[0]}x{GRID[1]} K{PEAKS}"
    return Case(what, size, plain, ours, target, given["hm"].nbytes, difference)


def noise(batch_size: int, classes: int) -> Tensor:
    """Give what a network gives before it has learned anything."""
    return torch.randn(batch_size, classes, *GRID, generator=torch.Generator().manual_seed(0)) - 2.19


def hills(batch_size: int, classes: int, objects: int = 15) -> Tensor:
    """Lay hills of objects on a smooth, low background."""
    steps = torch.arange(-6, 7)
    kernel = torch.exp(-(steps**2) / 12.5)
    kernel = kernel / kernel.norm()
    ground = noise(batch_size, classes).flatten(0, 1).unsqueeze(1) + 2.19
    ground = F.conv2d(
        F.conv2d(ground, kernel.view(1, 1, 1, -1), padding=(0, 6)), kernel.view(1, 1, -1, 1), padding=(6, 0)
    )
    heatmap = ground.view(batch_size, classes, *GRID) * 1.5 - 5
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.arange(GRID[0])[:, None], torch.arange(GRID[1])
    for image in heatmap:
        for channel in torch.randint(classes, (objects,), generator=generator).tolist():
            x, y, width = (torch.rand(3, generator=generator) * torch.tensor([GRID[1], GRID[0], 6])).tolist()
            hill = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * (width + 2) ** 2))
            image[channel] = torch.maximum(image[channel], 8 * hill - 4)
    return heatmap
