"""In training nothing makes the host wait for the device between two loggings, whatever is chosen and logged."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from lightning_centernet import CenterNet
from lightning_centernet.callbacks import LogEveryEpoch
from lightning_centernet.gradient_norms import GradientNorms
from lightning_centernet.heads import STANDARD
from lightning_centernet.testing import FakeData, fake_batch
from tests.tiny import DETECTION, quiet_trainer, tiny_model
from tests.waiting import Recorder

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")
ALL = {name: standard.channels or {"hps": 10, "hm_hp": 5}.get(name, 3) for name, standard in STANDARD.items()}
BATCHES, INTERVAL = 8, 4


class Steps(Callback):
    """Cuts the recording where a batch begins: a step is all until the next one, its logs and the loader included."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.begins = []

    def on_train_batch_start(self, *_):
        self.begins.append(len(self.recorder.callers))

    def waits(self, step):
        return self.recorder.callers[self.begins[step] : self.begins[step + 1]]


def record(model, data, *callbacks, **options):
    """Train; what was waited for in each step but the last."""
    recorder = Recorder()
    steps = Steps(recorder)
    trainer = quiet_trainer(callbacks=[steps, *callbacks], log_every_n_steps=INTERVAL, limit_val_batches=0, **options)
    with recorder:
        trainer.fit(model, data)
    return [steps.waits(step) for step in range(BATCHES - 1)]


def assert_silent(waits, but_for=()):
    for step, seen in enumerate(waits):
        found = [f"{name}\n{caller}" for name, caller in seen if name not in but_for]
        # In the first steps Lightning makes the sums it logs with; it logs in step INTERVAL - 1.
        if step > 0 and (step + 1) % INTERVAL:
            assert not found, f"step {step}:\n{found[0]}"


def fast(heads=DETECTION, **options):
    return tiny_model(heads, **{"optimizer": partial(SGD, lr=0.001, momentum=0.9)} | options)


def two_sets(batches=BATCHES):
    made = [[fake_batch(DETECTION, seed=seed + number) for seed in range(batches)] for number in (0, 50)]
    for batch in made[1]:
        del batch["wh"]
    return [DataLoader(batches, batch_size=None) for batches in made]


class TestNothingWaits:
    @pytest.mark.parametrize("heads", [DETECTION, ALL], ids=["detection", "all"])
    def test_as_the_command_line_trains(self, heads, tmp_path):
        """With bar, loggers, schedule and checkpoints."""
        loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path)]
        callbacks = [LearningRateMonitor(), LogEveryEpoch(), RichProgressBar(), ModelCheckpoint(tmp_path)]
        model = fast(heads, scheduler=partial(OneCycleLR, max_lr=0.001))
        options = {"logger": loggers, "enable_checkpointing": True, "enable_progress_bar": True}
        waits = record(model, FakeData(heads, batches=BATCHES), *callbacks, **options)
        assert_silent(waits)
        # One for each loss that is logged, one for the bar, one for the watch over all losses together.
        assert Counter(name for name, _ in waits[INTERVAL - 1])["_local_scalar_dense"] == len(heads) + 3

    @pytest.mark.parametrize("weighting", ["kendall", "fairmot", {"name": "scheduled", "epochs": {"wh": {0: 0, 2: 1}}}])
    def test_weightings(self, weighting):
        assert_silent(record(fast(weighting=weighting), FakeData(DETECTION, batches=BATCHES)))

    @pytest.mark.parametrize("weighting", ["fixed", "kendall"])
    def test_several_data_sets(self, weighting):
        assert_silent(record(fast(weighting=weighting), two_sets()))

    def test_gradient_norms(self):
        assert_silent(record(fast(), FakeData(DETECTION, batches=BATCHES), GradientNorms()))

    @pytest.mark.parametrize("algorithm", ["norm", "value"])
    def test_clipping(self, algorithm):
        options = {"gradient_clip_val": 0.5, "gradient_clip_algorithm": algorithm}
        assert_silent(record(fast(), FakeData(DETECTION, batches=BATCHES), **options))

    def test_accumulation(self):
        waits = record(fast(), FakeData(DETECTION, batches=BATCHES), accumulate_grad_batches=2)
        assert not [seen for seen in waits[1:] if seen]  # the first logging is that of the last batch

    @pytest.mark.parametrize("optimizer", [partial(SGD, fused=True), partial(Adam, fused=True)])
    def test_skipping_with_a_fused_optimizer(self, optimizer):
        model = fast(optimizer=partial(optimizer, lr=0.001), on_anomaly="skip")
        assert_silent(record(model, FakeData(DETECTION, batches=BATCHES)))

    @pytest.mark.parametrize("optimizer", [partial(SGD, fused=True), partial(Adam, fused=True)])
    def test_half_precision_with_a_fused_optimizer(self, optimizer):
        scaler = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
        model = fast(optimizer=partial(optimizer, lr=0.001), on_anomaly="skip")
        assert_silent(record(model, FakeData(DETECTION, batches=BATCHES), plugins=[scaler]))


class TestTheRecorder:
    """It would see a step that waits."""

    def test_skipping_otherwise_reads_one_number_in_each_step(self):
        waits = record(fast(on_anomaly="skip"), FakeData(DETECTION, batches=BATCHES))
        assert [[name for name, _ in seen] for seen in (waits[1], waits[2], waits[4])] == [["_local_scalar_dense"]] * 3

    def test_what_lightning_shows_in_the_bar(self):
        class Shown(CenterNet):
            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                self.log("shown", loss.detach(), prog_bar=True)
                return loss

        with pytest.raises(AssertionError, match="convert_tensors_to_scalars"):
            assert_silent(record(fast(kind=Shown), FakeData(DETECTION, batches=BATCHES)))
