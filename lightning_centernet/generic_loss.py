"""The loss of a task: a loop over its heads."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor, distributed, nn

from lightning_centernet.errors import UserError, did_you_mean
from lightning_centernet.geometry.gather import cells_of, read
from lightning_centernet.head_weights import FixedWeights
from lightning_centernet.heads import Head, HeadSpec, standard_heads
from lightning_centernet.heads.spec import raw_output, require_images, target
from lightning_centernet.losses import Contribution, Ratio, SumOverRanks, average, full_precision
from lightning_centernet.losses.joint_pass import Expected, JointPass
from lightning_centernet.losses.kernel import layout_of
from lightning_centernet.losses.precision import without_autocast
from lightning_centernet.types import Batch, Outputs, Tensors

Normalize: TypeAlias = Literal["process", "global"]
INDEX = {"center": "ind", "joint": "hp_ind"}  # keys of the cells where the predictions of a head are read

_PACKAGE = __name__.partition(".")[0]

logger = logging.getLogger(__name__)


class GenericLoss(nn.Module):
    """Weigh and add the losses of all heads (CenterTrack's and CenterFusion's `GenericLoss`, CenterNet's losses).

    Args:
        heads: the heads, or what `standard_heads` makes them from.
        weighting: makes one loss of all, a module of `head_weights`; the heads' fixed weights unless given.
        normalize: divide by what is labelled in this `process` (the originals), or in all of them, `global`: several
            processes then train as one with all their images; their batches must have targets for the same heads.

    Example:
        >>> from lightning_centernet.testing import fake_batch, fake_outputs
        >>> heads = standard_heads({"hm": 3, "wh": 2, "reg": 2})
        >>> tot, loss_stats = GenericLoss(heads)(fake_outputs(heads), fake_batch(heads))
        >>> list(loss_stats)
        ['tot', 'hm', 'wh', 'reg']
    """

    def __init__(
        self,
        heads: Mapping[str, HeadSpec],
        *,
        weighting: nn.Module | None = None,
        normalize: Normalize = "process",
    ) -> None:
        super().__init__()
        if normalize not in get_args(Normalize):
            allowed = get_args(Normalize)
            hint = did_you_mean(normalize, allowed)
            raise UserError(f"model.normalize={normalize}: must be one of {', '.join(allowed)}{hint}")
        if not isinstance(weighting, nn.Module | None):
            raise UserError(f'weighting={weighting!r} must be a module, such as make_weighting("kendall", weights)')
        self.heads = standard_heads(heads)
        self.normalize = normalize
        self.weighting = weighting or FixedWeights({name: head.weight for name, head in self.heads.items()})
        self.parameters_of = nn.ModuleDict({name: h.module for name, h in self.heads.items() if h.module is not None})
        self.known = all(type(head).__module__.partition(".")[0] == _PACKAGE for head in self.heads.values())
        self.missed: set[str] = set()
        self._expected = Expected(torch.ones(len(self.heads), dtype=torch.float32, device="cpu"))

    def forward(self, outputs: Sequence[Outputs] | Outputs, batch: Batch) -> tuple[Tensor, Tensors]:
        """Compute the loss in float32, whatever the autocast type; neither outputs nor batch are changed.

        Args:
            outputs: for each stack, head name to raw logits (B, channels, h, w); or one such dict.
            batch: the targets, in the keys of CenterTrack, CenterFusion or CenterNet. A head whose target is missing
                contributes a zero that is attached to the graph.

        Returns:
            The weighted sum; and `tot`, then each head's unweighted loss, averaged over the stacks, then what the
            weighting says about itself.

        Raises:
            UserError: an output, the mask of a target or all targets are missing, or shapes do not fit.
        """
        stacks = [outputs] if isinstance(outputs, Mapping) else list(outputs)
        if not stacks:
            raise UserError("the outputs are an empty list: give one dict of head names to tensors for each stack")
        present = [is_labelled(head, batch) for head in self.heads.values()]
        self._report_missing(present, batch)
        with without_autocast(raw_output(stacks[0], next(iter(self.heads.values())))):
            parts = [self._losses(stack, batch, present) for stack in stacks]
            losses = parts[0] if len(parts) == 1 else torch.stack(parts).mean(0)
            tot = cast("Tensor", self.weighting(losses, present))
        stats = dict(zip(self.heads, losses.unbind(), strict=True))
        return tot, {"tot": tot, **stats, **self.weighting.stats()}  # type: ignore[operator]  # a module's method

    def _losses(self, stack: Outputs, batch: Batch, present: Sequence[bool]) -> Tensor:
        outputs = [raw_output(stack, head) for head in self.heads.values()]
        # Validation may have more batches in one process than in another: it must not wait for the others.
        together = self.normalize == "global" and torch.is_grad_enabled() and distributed.is_initialized()
        # A compiled pass neither waits for others nor gives gradients to what a head of one's own may hold.
        if together or self.parameters_of or not self.known:
            return _losses(outputs, batch, self.heads, present, _sum_over_ranks if together else None)
        targets = {key: values for key, values in batch.items() if isinstance(values, Tensor) and key != "image"}
        return _in_one_pass(outputs, targets, self._expected, self.heads, present)

    def _report_missing(self, present: Sequence[bool], batch: Batch) -> None:
        missing = [name for name, there in zip(self.heads, present, strict=True) if not there]
        if len(missing) == len(self.heads):
            raise UserError(f"no head finds its target in the batch, which holds {', '.join(sorted(batch))}")
        if self.missed.issuperset(missing) or torch.compiler.is_compiling():
            return
        for name in sorted(set(missing) - self.missed):
            keys = " or ".join(f"`{key}`" for key in self.heads[name].target_keys)
            logger.warning("head `%s` learns nothing from batches without %s; said once", name, keys)
        self.missed.update(missing)


def is_labelled(head: Head, batch: Batch) -> bool:
    """Tell if a batch has targets for a head."""
    return not head.target_keys or any(key in batch for key in head.target_keys)


def _losses(
    outputs: Sequence[Tensor],
    batch: Batch,
    heads: Mapping[str, Head],
    present: Sequence[bool],
    sum_over_ranks: SumOverRanks | None = None,
) -> Tensor:
    cells: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    contributions: list[Sequence[Contribution]] = []
    by_name = dict(zip(heads, outputs, strict=True))
    for head, labelled in zip(heads.values(), present, strict=True):
        output = by_name[head.name]
        if not labelled:
            contributions.append([_constant(full_precision(output).flatten()[:0].sum())])
            continue
        if head.at != "map":
            key = INDEX[head.at]
            if key not in cells:
                index = target(batch, head, key)
                require_images(output, key, index)
                cells[key] = cells_of(index, output.shape[3])
            others = [by_name[name] for name in head.reads if name in by_name]
            read_at = [full_precision(read(each, cells[key])) for each in (output, *others)]
            output = torch.cat(read_at, dim=-1) if others else read_at[0]
        given = head.criterion(output, batch)
        contributions.append([_constant(given)] if isinstance(given, Tensor) else given)
    return average(contributions, sum_over_ranks)


def _need_few_copies(outputs: Sequence[Tensor], targets: Tensors, heads: Mapping[str, Head], _: Sequence[bool]) -> bool:
    """Tell if most of the outputs lie as their heat maps do; on the host one pass over all copies those that do not."""
    if outputs[0].device.type != "cpu":
        return True
    maps = [(output, targets[name]) for name, output in zip(heads, outputs, strict=True) if name in targets]
    copied = sum(output.numel() for output, heatmap in maps if heatmap.ndim == 4 and not layout_of([output, heatmap]))
    return 2 * copied <= sum(output.numel() for output in outputs)


_in_one_pass = JointPass(_losses, "the loss of all heads", _need_few_copies)


def _constant(loss: Tensor) -> Ratio:
    return Ratio(loss, torch.ones_like(loss, requires_grad=False))


def _sum_over_ranks(counts: Tensor) -> tuple[Tensor, int]:
    counts = counts.clone()
    distributed.all_reduce(counts)
    return counts, distributed.get_world_size()
