"""The highest peaks of heat maps: cells that are the largest of their 3 x 3 neighbourhood (CenterNet, section 4)."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor


def highest_peaks(heatmap: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the `k` highest peaks of each image, best first; of equal ones the first in the order of (C, h, w).

    Args:
        heatmap: (B, C, h, w) raw logits, in any memory layout.
        k: peaks to keep.

    Returns:
        Their logits (B, k) float32, and (B, k) int64, where they are as (c * h + y) * w + x. An image without so many
        peaks has -inf and 0 in the slots left.
    """
    on_host = heatmap.device.type == "cpu" and not torch.compiler.is_compiling()
    values, cells = (_candidates_on_host if on_host else _candidates_on_device)(heatmap, k)
    chosen = _top(values, k)
    missing = (0, k - chosen.shape[1])
    logits = F.pad(values.gather(1, chosen).float(), missing, value=-torch.inf)
    return logits, F.pad(cells.gather(1, chosen), missing) * (logits > -torch.inf)


def _candidates_on_device(heatmap: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # Nothing here may depend on the values, for which the host would have to wait. Of the whole map only rows are
    # compared: the k best cells are in the k rows with the highest peaks.
    height, width = heatmap.shape[2:]
    peaks = torch.where(F.max_pool2d(heatmap, 3, stride=1, padding=1) == heatmap, heatmap, -torch.inf)
    rows = _top(peaks.amax(3).flatten(1), k).sort(dim=1).values
    image = torch.arange(len(heatmap), device=heatmap.device)[:, None]
    cells = rows.unsqueeze(-1) * width + torch.arange(width, device=heatmap.device)
    return peaks[image, rows // height, rows % height].flatten(1), cells.flatten(1)


def _candidates_on_host(heatmap: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # Where a row's maximum is at least those of the rows above and below, it is a peak. What is below the k-th of these
    # need not be looked at: mostly all but a few rows.
    maximum = _row_maxima(heatmap).float()
    sure = torch.where(_widen(maximum) == maximum, maximum, -torch.inf).flatten(1)
    enough = F.pad(sure, (0, k), value=torch.finfo(torch.float32).min).topk(k).values[:, -1:]  # all, if k are not sure
    image, row = (~(maximum.flatten(1) < enough)).nonzero().unbind(1)  # not `>=`: a row with a NaN may have peaks too
    peaks = _peaks_in_rows(heatmap, image, row)
    entry, column = (peaks >= enough[image]).nonzero().unbind(1)
    return _per_image(image[entry], peaks[entry, column], row[entry] * heatmap.shape[3] + column, len(heatmap))


def _row_maxima(heatmap: Tensor) -> Tensor:
    # (B, C, h). Where pixels are channels last, columns of them are maximised several times faster than rows.
    return heatmap.amax(3) if heatmap.is_contiguous() else reduce(torch.maximum, heatmap.unbind(3))


def _peaks_in_rows(heatmap: Tensor, image: Tensor, row: Tensor) -> Tensor:
    # (n, w) float32: the rows numbered c * h + y of the images, -inf where they have no peak.
    height = heatmap.shape[2]
    near = ((row % height)[:, None] + torch.arange(-1, 2)).clamp(0, height - 1)
    rows = heatmap[image[:, None], (row // height)[:, None], near].float()
    largest = _widen(rows.amax(1, keepdim=True)).squeeze(1)
    return torch.where(largest == rows[:, 1], rows[:, 1], -torch.inf)


def _widen(values: Tensor) -> Tensor:
    # (n, m, w): the largest of each value and the two beside it.
    return F.max_pool1d(values, 3, stride=1, padding=1)


def _per_image(image: Tensor, values: Tensor, cells: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    # One list, sorted by image, to a row for each image: (B, n) values, -inf where there are no more, and cells.
    counts = torch.bincount(image, minlength=batch_size)
    slot = torch.arange(len(image)) - (counts.cumsum(0) - counts)[image]
    padded = values.new_full((batch_size, int(counts.max())), -torch.inf)
    padded_cells = cells.new_zeros(padded.shape)
    padded[image, slot], padded_cells[image, slot] = values, cells
    return padded, padded_cells


def _top(values: Tensor, k: int) -> Tensor:
    # (B, min(k, n)): the positions of the largest of (B, n), best first, of equal ones the first. torch.topk leaves the
    # order of equal values open, hence whole numbers that are never equal: the value's bits, then the position.
    bits = (values.float() + 0.0).view(torch.int32)  # -0 becomes 0
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # larger floats have larger bits, but for the sign
    position = torch.arange(values.shape[1], device=values.device)
    return ((ordered << 32) - position).topk(min(k, values.shape[1])).indices
