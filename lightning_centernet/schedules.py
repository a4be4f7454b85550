"""Optimisers and their schedules, as Lightning takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

OptimizerFactory: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory: TypeAlias = Callable[..., LRScheduler]

ADAM = partial(Adam, lr=1.25e-4)  # for 32 images a step, as in the originals


def with_schedule(
    optimizer: Optimizer, scheduler: SchedulerFactory | None, total_steps: Callable[[], int]
) -> OptimizerLRScheduler:
    """Make the schedule of an optimiser: stepped after every batch if it takes `total_steps`, else after every epoch.

    Args:
        optimizer: the optimiser.
        scheduler: makes the schedule; None for none.
        total_steps: tells the length of the training, if the schedule leaves it open.
    """
    if scheduler is None:
        return optimizer
    steps = inspect.signature(scheduler).parameters.get("total_steps")
    if steps is not None and steps.default in (None, steps.empty):
        schedule = scheduler(optimizer, total_steps=total_steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler(optimizer), "interval": "epoch"}}
