"""In which steps of a training something is logged, and what waits on a device is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class LoggedSteps:
    """Find the steps that the trainer logs, and the last of each epoch; of accumulated batches the one that steps."""

    def __init__(self) -> None:
        self._last = 0

    def due(self, trainer: Trainer) -> bool:
        """Tell at the end of a batch if this is one."""
        due = self._passed(trainer, trainer.global_step)
        self._last = trainer.global_step
        return due

    def coming(self, trainer: Trainer) -> bool:
        """Tell before a backward pass if the step of this batch is one."""
        return self._passed(trainer, trainer.global_step + 1)

    def _passed(self, trainer: Trainer, step: int) -> bool:
        # mypy: Lightning sets this attribute from another class.
        interval = trainer.log_every_n_steps or math.inf  # type: ignore[attr-defined]
        return step // interval != self._last // interval or trainer.is_last_batch
