"""The line of an epoch."""

from __future__ import annotations

import logging

from torch.utils.data import DataLoader

from lightning_centernet.cli.progress import EpochLines
from lightning_centernet.testing import fake_batch
from tests.tiny import DETECTION, quiet_trainer, tiny_model


def test_scores_are_shown_in_the_epoch_that_they_are_of(caplog):
    data = DataLoader([fake_batch(DETECTION)], batch_size=None)
    trainer = quiet_trainer(
        max_epochs=4, check_val_every_n_epoch=2, limit_val_batches=1, callbacks=[EpochLines()], enable_progress_bar=True
    )
    with caplog.at_level(logging.INFO, "lightning_centernet.cli.progress"):
        trainer.fit(tiny_model(), data, data)
    lines = [record.getMessage() for record in caplog.records if "of 4" in record.getMessage()]
    assert ["val/tot" in line for line in lines] == [False, True, False, True]
    assert all("train/tot" in line for line in lines)
