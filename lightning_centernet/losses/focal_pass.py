"""The mathematics of the focal loss, in forms for autograd, for a compiler, and for neither.

With z the logit turned so that a larger one is a larger mistake, a cell costs weight sigmoid(z)^alpha softplus(z): an
object's cell has z = -x and the weight 1, any other one z = x and the weight (1 - heatmap)^beta. The derivative by z is
weight sigmoid(z)^alpha (sigmoid(z) + alpha sigmoid(-z) softplus(z)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.kernel import CompiledOnce, Layout, alike_parts, as_lines, blocks
from lightning_centernet.losses.precision import full_precision, precise_sum
from lightning_centernet.losses.sigmoids import Sigmoids, limit, sigmoids, sigmoids_of_map

LONG = 2**20  # elements, from which on a processor multiplies halves faster in a compiled loop, up to three times


class Listed(NamedTuple):
    """Objects: their cells (B, N) int64 as y * w + x, their channels (B, N) int64, and 1 where there is one (B, N)."""

    cells: Tensor
    channels: Tensor
    mask: Tensor


class Maps(NamedTuple):
    """Logits and heat map, (B, C, h, w); and the objects, or None where these are the cells equal to 1."""

    logits: Tensor
    heatmap: Tensor
    listed: Listed | None

    @classmethod
    def of(cls, logits: Tensor, heatmap: Tensor, *listed: Tensor) -> Maps:
        """Put together what a graph has kept."""
        return cls(logits, heatmap, Listed(*listed) if listed else None)

    def require_one_shape(self) -> None:
        """Compare the shapes.

        Raises:
            UserError: they differ, or are not those of maps.
        """
        if self.logits.ndim != 4 or self.logits.shape != self.heatmap.shape:
            shapes = f"logits {tuple(self.logits.shape)} and heat map {tuple(self.heatmap.shape)}"
            raise UserError(f"{shapes} must have one shape, (batch, classes, height, width)")


class Sums(NamedTuple):
    """The sum over the cells, negative; the number of cells that are 1; and the gradient at the objects, if any."""

    gain: Tensor
    ones: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class Choices:
    """What the loss leaves to choose.

    Attributes:
        alpha: exponent of the mistake; 2 in all of the originals.
        beta: exponent that spares the cells near an object; 4 in all of the originals. Cells equal to 1 never count as
            background, not even with 0.
        clamp: let no gradient flow where a probability leaves [1e-4, 1 - 1e-4], as in the originals. Without it the
            values are the same, but confident mistakes are still corrected.
    """

    alpha: float = 2.0
    beta: float = 4.0
    clamp: bool = False


def plain_sum(maps: Maps, choices: Choices) -> tuple[Tensor, Tensor]:
    """Return the sum and the number of objects, by operators that can be differentiated."""
    logits = full_precision(maps.logits)
    limited = limit(logits) if choices.clamp else limit(logits).detach() + (logits - logits.detach())
    # Polynomials are good for values only: their own derivatives are off by more, and wrong at 0.
    heatmap = full_precision(maps.heatmap)
    gains, _ = _of_map(limited, heatmap, choices, maps.listed is None, sigmoids)
    if maps.listed is None:
        return -precise_sum(gains), (heatmap == 1).sum(dtype=gains.dtype)
    mask = full_precision(maps.listed.mask)
    gains_of_objects, _ = _focal(sigmoids(-limited[index_objects(maps.listed, logits.shape[3])]), mask, choices)
    return -precise_sum(gains) - gains_of_objects.sum(), mask.sum()


def one_pass(
    maps: Maps, choices: Choices, gradient: Tensor | None = None, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the same; write the gradient by the logits, times the scale, where there is room for it."""
    tensors = [maps.logits, maps.heatmap] if gradient is None else [maps.logits, maps.heatmap, gradient]
    lines, layout = as_lines(tensors)
    parts = [lines] if layout else alike_parts(tensors)
    if maps.listed is None:
        gain, count = _add([_over_lines(part, scale, choices, dense=True)[:2] for part in parts])
        return -gain, count
    cells, mask = index_objects(maps.listed, maps.logits.shape[3], layout), full_precision(maps.listed.mask)
    objects = [lines[0][cells].flatten(), mask.flatten()]
    sums = [_over_lines(part, scale, choices, () if number else objects) for number, part in enumerate(parts)]
    gain, _ = _add([each[:2] for each in sums])
    if gradient is not None:
        lines[2].index_put_(cells, sums[0].slopes.view_as(mask), accumulate=True)
    return -gain, mask.sum()


def sum_and_slopes(maps: Maps, choices: Choices) -> tuple[Tensor, ...]:
    """Return the sum, the number of objects, and the slopes of all cells as background and of listed objects."""
    logits, heatmap = full_precision(maps.logits), full_precision(maps.heatmap)
    gains, slopes = _of_map(limit(logits), heatmap, choices, maps.listed is None)
    slopes = _finish(slopes, logits, None, choices)
    if logits.is_contiguous(memory_format=torch.channels_last):  # the heat map may lie in another layout
        slopes = slopes.contiguous(memory_format=torch.channels_last)
    if maps.listed is None:
        return -_add_up(gains), (heatmap == 1).sum(dtype=gains.dtype), slopes
    cells, mask = index_objects(maps.listed, logits.shape[3]), full_precision(maps.listed.mask)
    gain, slopes_of_objects = _of_objects(logits[cells], mask, None, choices)
    return -_add_up(gains) - gain, mask.sum(), slopes, slopes_of_objects


def gradient_of(logits: Tensor, listed: Listed | None, slopes: Sequence[Tensor], scale: Tensor) -> Tensor:
    """Put the slopes together, times the scale, without changing anything in place: for a compiler."""
    gradient, *of_objects = [(each * scale).to(logits.dtype) for each in slopes]
    if listed is None:
        return gradient
    return gradient.index_put(index_objects(listed, logits.shape[3]), of_objects[0], accumulate=True)


def multiply(gradient: Tensor, scale: Tensor) -> None:
    """Multiply a map by a number, in place."""
    (line,), layout = as_lines([gradient])
    if layout and gradient.device.type == "cpu" and gradient.dtype != torch.float32 and gradient.numel() >= LONG:
        _multiply([line.view(-1).data], scale)
    else:
        gradient.mul_(scale)


def _over_lines(
    lines: Sequence[Tensor], scale: Tensor | None, choices: Choices, objects: Sequence[Tensor] = (), dense: bool = False
) -> Sums:
    if lines[0].ndim == 4:  # lies in memory like no network's output
        return _run(lines, objects, scale, choices, dense)
    # As vectors that do not know what they are views of: then the compiled pass suits maps of all sizes.
    vectors = [line.view(-1).data for line in lines]
    return cast("Sums", _over_map(vectors, [each.data for each in objects], scale, choices, dense))


def _run(
    maps: Sequence[Tensor], objects: Sequence[Tensor], scale: Tensor | None, choices: Choices, dense: bool
) -> Sums:
    """Pass over logits, heat map and gradient, if there is one: as a whole or, uncompiled, in blocks.

    Args:
        maps: of one size.
        objects: their logits and their mask, (N,), or nothing.
        scale: of the gradient, if it is known.
        choices: of the loss.
        dense: whether the cells that are 1 are the objects.
    """
    if torch.compiler.is_compiling():
        gain, count = _at_once(maps, scale, choices, dense)
    else:
        gain, count = _add([_block(part, scale, choices, dense) for part in blocks(maps)])
    if not objects:
        return Sums(gain, count, gain)
    gain_of_objects, slopes = _of_objects(full_precision(objects[0]), objects[1], scale, choices)
    return Sums(gain + gain_of_objects, count, slopes.to(maps[-1].dtype))


def _of_objects(logits: Tensor, mask: Tensor, scale: Tensor | None, choices: Choices) -> tuple[Tensor, Tensor]:
    """Return the objects' sum, negative, and the gradient at each."""
    gains, slopes = _focal(sigmoids(-limit(logits)), mask, choices)
    return gains.sum(), _finish(-slopes, logits, scale, choices)


def _add(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(parts) == 1:
        return parts[0]
    return torch.stack([gain for gain, _ in parts]).sum(), torch.stack([count for _, count in parts]).sum()


_over_map = CompiledOnce(_run, "the focal loss")
_multiply = CompiledOnce(lambda maps, scale: maps[0].mul_(scale), "the scaling of its gradient")


def _at_once(maps: Sequence[Tensor], scale: Tensor | None, choices: Choices, dense: bool) -> tuple[Tensor, Tensor]:
    logits, heatmap = full_precision(maps[0]), full_precision(maps[1])
    gains, slopes = _of_map(limit(logits), heatmap, choices, dense)
    if len(maps) == 3:
        maps[2].copy_(_finish(slopes, logits, scale, choices))
    if not dense:
        return _add_up(gains), gains.new_zeros(())
    # The zeros make it one loop with the gains, the whole map of which would be kept for a second loop otherwise.
    return _add_up(gains), ((heatmap == 1) + 0 * gains.nan_to_num()).sum()


def _add_up(gains: Tensor) -> Tensor:
    """Add up the gains of maps, for a compiler, in float32, as in float64 the loop would wait for memory.

    What `precise_sum` says of equal numbers is avoided otherwise: the multiples of 2^-7 and of 2^-19 in them are added
    apart, and sums of 8192 of these are exact. Equal gains below 2^-20, a millionth each, may still add up to a loss
    that is off by 1e-4 of its little value; a third part costs a fifth of the speed.
    """
    if gains.device.type != "cpu":
        return gains.sum()
    coarse = (gains + 98304) - 98304  # floats are 2^-7 apart there; a gain is at most 9.3
    rest = gains - coarse
    fine = (rest + 24) - 24
    return coarse.sum() + (fine.sum() + (rest - fine).sum())


def _block(maps: Sequence[Tensor], scale: Tensor | None, choices: Choices, dense: bool) -> tuple[Tensor, Tensor]:
    """Do the same as `_at_once` in place, in half the time of operators that each make a new tensor."""
    logits, heatmap = full_precision(maps[0]), full_precision(maps[1])
    positive = heatmap == 1 if dense else None
    wrong, weight = limit(logits), _background(heatmap, choices.beta)
    if positive is not None:
        torch.where(positive, -wrong, wrong, out=wrong)
        weight.masked_fill_(positive, 1.0)
    right = torch.neg(wrong).sigmoid_()
    certainty = torch.log(right)
    wrong.sigmoid_()
    if choices.alpha == 2:
        weight.mul_(wrong).mul_(wrong)  # without another copy
    else:
        weight.mul_(_power(wrong, choices.alpha))
    slopes = torch.addcmul(wrong, right, certainty, value=-choices.alpha, out=right).mul_(weight)
    if positive is not None:
        torch.where(positive, -slopes, slopes, out=slopes)
    if len(maps) == 3 and scale is not None and not choices.clamp:
        torch.mul(slopes, scale, out=maps[2])
    elif len(maps) == 3:
        maps[2].copy_(_finish(slopes, logits, scale, choices))
    return certainty.mul_(weight).sum(), logits.new_zeros(()) if positive is None else positive.sum().to(logits.dtype)


def _of_map(
    limited: Tensor,
    heatmap: Tensor,
    choices: Choices,
    dense: bool,
    sigmoids_of: Callable[[Tensor], Sigmoids] = sigmoids_of_map,
) -> tuple[Tensor, Tensor]:
    """Return each cell's negative cost, and the cost's derivative by the logit."""
    weight = _background(heatmap, choices.beta)
    if not dense:
        return _focal(sigmoids_of(limited), weight, choices)
    positive = heatmap == 1
    turned = torch.where(positive, -limited, limited)
    gains, slopes = _focal(sigmoids_of(turned), weight.masked_fill(positive, 1.0), choices)
    return gains, torch.where(positive, -slopes, slopes)


def _focal(mistake: Sigmoids, weight: Tensor, choices: Choices) -> tuple[Tensor, Tensor]:
    """Return the negative cost and its derivative by z."""
    wrong, right, certainty = mistake
    factor = weight * _power(wrong, choices.alpha)
    gains = factor * certainty  # used twice: a compiler then makes one loop of sum and slopes, and reads the maps first
    return gains, torch.sub(factor * wrong, right * gains, alpha=choices.alpha)


def _finish(slopes: Tensor, logits: Tensor, scale: Tensor | None, choices: Choices) -> Tensor:
    slopes = slopes * (limit(logits) == logits) if choices.clamp else slopes
    return slopes if scale is None else slopes * scale


def _background(heatmap: Tensor, beta: float) -> Tensor:
    """Weigh the cells that are not 1; those that are do not count, whatever beta is."""
    return _power(1 - heatmap, beta) if beta else (heatmap != 1).to(heatmap.dtype)


def _power(values: Tensor, exponent: float) -> Tensor:
    while exponent > 0 and exponent % 2 == 0:  # squares are fast
        values, exponent = values.square(), exponent / 2
    return values if exponent == 1 else values**exponent


def index_objects(listed: Listed, width: int, layout: Layout | None = None) -> tuple[Tensor, ...]:
    """Index the objects in maps (B, C, h, w), or in what `as_lines` makes of them."""
    cells, channels, _ = listed
    images = torch.arange(cells.shape[0], device=cells.device).unsqueeze(1)
    if layout == "channels first":
        return images, channels, cells
    if layout == "channels last":
        return images, cells, channels
    return images, channels, torch.div(cells, width, rounding_mode="floor"), cells % width
