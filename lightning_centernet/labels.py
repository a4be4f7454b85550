"""Which heads the data has targets for, where several data sets are trained on at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from lightning_centernet.errors import UserError
from lightning_centernet.generic_loss import is_labelled
from lightning_centernet.heads import Head
from lightning_centernet.types import Batch

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class LabelledHeads:
    """Remember which heads any batch had targets for."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self.heads = heads
        self.seen: set[str] = set()
        self.batches = 0

    def look(self, batch: Batch) -> None:
        """Take note of a batch."""
        self.batches += 1
        self.seen |= {name for name, head in self.heads.items() if name not in self.seen and is_labelled(head, batch)}

    def require_all(self, trainer: Trainer) -> None:
        """Make sure, at the end of an epoch, that all heads have learned.

        Raises:
            UserError: none of its batches, on any process, had targets for one of them.
        """
        # Of an epoch that a checkpoint cut in two, this run has seen the second part only.
        whole = trainer.is_last_batch and self.batches > trainer.fit_loop.batch_idx
        if not whole or trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by another class
            return
        seen = torch.tensor([float(name in self.seen) for name in self.heads], device=trainer.strategy.root_device)
        seen = trainer.strategy.reduce(seen, reduce_op="sum")
        never = [head for head, count in zip(self.heads.values(), seen.tolist(), strict=True) if not count]
        if never:
            named = " and ".join(f"head `{head.name}` (`{'` or `'.join(head.target_keys)}`)" for head in never)
            raise UserError(f"no batch of the epoch had targets for {named}: add them, or remove the head")


def may_lack_targets(trainer: Trainer | None) -> bool:
    """Tell if a head may be left out of a batch: not where one data set is all that there is to train on."""
    if trainer is None:
        return False
    return trainer.train_dataloader is None or isinstance(trainer.train_dataloader, list | tuple | dict)
