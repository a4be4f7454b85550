"""Progress that suits where the output goes: a bar on a terminal, lines in a file or a pipe."""

from __future__ import annotations

import logging
import sys

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

_logger = logging.getLogger(__name__)


class EpochLines(ProgressBar):
    """Print one line an epoch; a bar drawn into a file would be thousands of lines."""

    validated = -1  # the last epoch that was

    def disable(self) -> None:
        """Leave it to the first process, which logs anyway."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there are new scores."""
        self.validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's loss and metrics; validation is over by now, if the epoch has one."""
        if not trainer.is_global_zero:
            return
        values = self.get_metrics(trainer, pl_module) | _monitored(trainer)
        old = ("v_num",) if self.validated == trainer.current_epoch else ("v_num", "val/")
        values = {name: value for name, value in values.items() if not name.startswith(old)}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, float))
        _logger.info("epoch %d of %s  %s", trainer.current_epoch + 1, trainer.max_epochs, shown)


def _monitored(trainer: Trainer) -> dict[str, float]:
    """Read the score that the best checkpoint has most of, which need not be one of those in the bar."""
    name = getattr(trainer.checkpoint_callback, "monitor", None)
    return {name: float(trainer.callback_metrics[name])} if name in trainer.callback_metrics else {}


def progress_bar() -> ProgressBar:
    """Choose what suits the standard output."""
    return RichProgressBar() if sys.stdout.isatty() else EpochLines()
