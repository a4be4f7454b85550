"""Heads that no batch has targets for, also in an epoch that a checkpoint cut in two."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_centernet import UserError
from lightning_centernet.testing import fake_batch
from tests.tiny import DETECTION, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*' does not have many workers",
    "ignore:The number of training",
    "ignore:You're resuming from a checkpoint that ended before",
    "ignore:Be aware that when using `ckpt_path`",
)


def loader(*labelled: int) -> DataLoader:
    """Make three batches; only the `labelled` ones have `wh`."""
    batches = [fake_batch(DETECTION, seed=seed) for seed in range(3)]
    for number, batch in enumerate(batches):
        if number not in labelled:
            del batch["wh"]
    return DataLoader(batches, batch_size=None)


@pytest.fixture
def checkpoint(tmp_path):
    """Write one after the second of three batches."""
    keeper = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=2, save_on_train_epoch_end=False)
    quiet_trainer(max_steps=2, max_epochs=-1, callbacks=[keeper], enable_checkpointing=True).fit(
        tiny_model(), loader(2)
    )
    return tmp_path / "step=2.ckpt"


def resume(checkpoint, *labelled, **options):
    model = tiny_model()
    quiet_trainer(**options).fit(model, loader(*labelled), ckpt_path=checkpoint, weights_only=True)
    return model.trainer.global_step


def test_rest_of_an_epoch_need_not_have_all_heads(checkpoint):
    """What is left of the epoch is one batch, and the loader begins anew."""
    assert resume(checkpoint, 2) == 3
    assert resume(checkpoint, 2, max_epochs=2) == 6


def test_next_epoch_must(checkpoint):
    with pytest.raises(UserError, match="no batch of the epoch had targets for head `wh`"):
        resume(checkpoint, max_epochs=2)
