"""What happens to a batch on the device before the network sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_centernet.encoding import encode
from lightning_centernet.heads import Head
from lightning_centernet.types import Batch, Grid


def normalize(image: Tensor, mean: Sequence[float], std: Sequence[float], color: Tensor | None = None) -> Tensor:
    """Turn uint8 RGB into the network's input, changing its colours on the way.

    Args:
        image: (B, 3, H, W) uint8.
        mean: of each channel, in [0, 1].
        std: of each channel.
        color: (B, 3, 4) maps RGB in [0, 1], and 1, to other colours.

    Returns:
        (B, 3, H, W) float32, channels last.
    """
    if color is None:
        color = torch.eye(3, 4, device=image.device).expand(image.shape[0], -1, -1)
    # Numbers stay on the host, for a tensor made of them would have to be sent to the device.
    batch_size, _, height, width = image.shape
    matrix = torch.stack([color[:, c, :3] / (255 * std[c]) for c in range(3)], dim=2)
    offset = torch.stack([(color[:, c, 3:] - mean[c]) / std[c] for c in range(3)], dim=2).repeat(1, 1, width)
    pixels = image.permute(0, 2, 3, 1).flatten(1, 2)
    result = torch.empty(batch_size, height, 3 * width, device=image.device)
    together = 1 if image.device.type == "cpu" else batch_size  # one image at a time stays in a processor's cache
    parts = (torch.split(each, together) for each in (pixels, matrix, offset, result))
    for part, factors, shift, rows in zip(*parts, strict=True):
        torch.bmm(part.float(), factors, out=rows.view(-1, height * width, 3))
        rows.add_(shift)
    return result.view(batch_size, height, width, 3).permute(0, 3, 1, 2)


def denormalize(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn the network's input back into (B, 3, H, W) uint8 RGB pictures."""
    scale, shift = (image.new_tensor(values).view(1, 3, 1, 1) for values in (std, mean))
    return ((image * scale + shift) * 255).round().clamp(0, 255).byte()


def prepare(
    batch: Batch,
    heads: Mapping[str, Head],
    stride: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    partial: bool = False,
) -> Batch:
    """Normalise uint8 images, and encode annotations; what is there already stays as it is.

    Args:
        batch: as the loader ships it, with annotations; or with encoded targets in the originals' keys, the image
            under `image` or `input`.
        heads: the heads to encode targets for.
        stride: input pixels per output cell.
        mean: of each colour channel.
        std: of each colour channel.
        partial: leave out heads whose targets the annotations do not have.

    Returns:
        A new dict.
    """
    image = batch["image"] if "image" in batch else batch["input"]
    prepared = batch | {"image": image}
    if image.dtype == torch.uint8:
        prepared["image"] = normalize(image, mean, std, batch.get("color"))
    if "views" in batch:
        prepared["views"] = [normalize(view, mean, std) for view in batch["views"]]
    if "annotations" in batch and "ind" not in batch:
        grid = Grid(image.shape[2] // stride, image.shape[3] // stride, stride)
        layout = torch.channels_last  # as the network's outputs
        annotations = batch["annotations"] | {name: batch[name] for name in ("calibration", "scale") if name in batch}
        prepared |= encode(annotations, heads, grid, partial=partial, memory_format=layout)
    return prepared
