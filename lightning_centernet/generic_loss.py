"""The loss of a task: a loop over its heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.gather import gather
from lightning_centernet.heads import Head, HeadSpec, standard_heads
from lightning_centernet.heads.spec import raw_output, target
from lightning_centernet.types import Batch, Outputs, Tensors


class GenericLoss(nn.Module):
    """Weigh and add the losses of all heads (CenterTrack's and CenterFusion's `GenericLoss`, CenterNet's losses).

    Args:
        heads: the heads, or what `standard_heads` makes them from.

    Example:
        >>> from lightning_centernet.testing import fake_batch, fake_outputs
        >>> heads = standard_heads({"hm": 3, "wh": 2, "reg": 2})
        >>> tot, loss_stats = GenericLoss(heads)(fake_outputs(heads), fake_batch(heads))
        >>> list(loss_stats)
        ['tot', 'hm', 'wh', 'reg']
    """

    def __init__(self, heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        self.heads = standard_heads(heads)
        self.parameters_of = nn.ModuleDict({name: h.module for name, h in self.heads.items() if h.module is not None})

    def forward(self, outputs: Sequence[Outputs] | Outputs, batch: Batch) -> tuple[Tensor, Tensors]:
        """Compute the loss in float32, whatever the autocast type; neither outputs nor batch are changed.

        Args:
            outputs: for each stack, head name to raw logits (B, channels, h, w); or one such dict.
            batch: the targets, in the keys of CenterTrack, CenterFusion or CenterNet.

        Returns:
            The weighted sum; and `tot`, then each head's unweighted loss, averaged over the stacks.

        Raises:
            UserError: an output or a target is missing, or shapes do not fit.
        """
        stacks = [outputs] if isinstance(outputs, Mapping) else list(outputs)
        losses = {}
        for name, head in self.heads.items():
            predictions = [raw_output(stack, head) for stack in stacks]
            with torch.autocast(predictions[0].device.type, enabled=False):
                parts = [head.criterion(_read(prediction, head, batch).float(), batch) for prediction in predictions]
                losses[name] = torch.stack(parts).mean()
        tot = torch.stack([self.heads[name].weight * loss for name, loss in losses.items()]).sum()
        return tot, {"tot": tot, **losses}


def _read(output: Tensor, head: Head, batch: Batch) -> Tensor:
    if head.at == "map":
        _check_grid(output, head, batch)
        return output
    return gather(output, target(batch, head, "ind" if head.at == "center" else "hp_ind"))


def _check_grid(output: Tensor, head: Head, batch: Batch) -> None:
    heatmap = batch.get(head.name)
    if heatmap is not None and heatmap.shape != output.shape:
        raise UserError(
            f"head `{head.name}`: its output has shape {tuple(output.shape)}, but the batch's `{head.name}` has "
            f"{tuple(heatmap.shape)}: check the number of classes, the input size and the stride"
        )
