"""`torch.compile(model)` in a trainer: the whole training step is one graph, made once, and gives the same numbers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters
from torch.optim import SGD
from torch.utils.data import DataLoader

from lightning_centernet import UserError
from lightning_centernet.testing import fake_batch
from tests.tiny import DETECTION, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def batches(start=0, lacking=None, number=4):
    made = [fake_batch(DETECTION, seed=start + seed) for seed in range(number)]
    return DataLoader([{key: b[key] for key in b if key != lacking} for b in made], batch_size=None)


def train(loaders, compiled=None, **options):
    model = tiny_model(optimizer=partial(SGD, lr=0.01), **options)
    trainer = quiet_trainer(log_every_n_steps=2)
    trainer.fit(torch.compile(model, backend=compiled) if compiled else model, loaders)
    return model, trainer


CASES = {
    "plain": (batches, {}),
    "learned weights, skipping": (batches, {"weighting": "kendall", "on_anomaly": "skip", "normalize": "global"}),
    "several data sets": (lambda: {"a": batches(), "b": batches(9, "wh")}, {"weighting": "fairmot"}),
}


@pytest.mark.parametrize(("case", "backend"), [*((case, "aot_eager") for case in CASES), ("plain", "inductor")])
def test_training_step_is_one_graph(case, backend):
    loaders, options = CASES[case]
    plain, expected = train(loaders(), **options)
    model, trainer = train(loaders(), compiled=backend, **options)
    assert not counters["graph_break"]
    # At least up to 2.11, torch makes graphs of their own of the network and of the losses.
    assert torch.__version__ < (2, 12) or counters["stats"]["unique_graphs"] == 1
    for value, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(value, other)
    assert set(trainer.callback_metrics) == set(expected.callback_metrics)


def test_losses_are_watched():
    data = batches()
    data.dataset[1]["reg"][0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"batch 1\): the loss of reg is nan"):
        train(data, compiled="aot_eager")
