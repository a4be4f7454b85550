"""How the heads are weighted and watched, chosen on the command line."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest
import torch

from lightning_centernet import UserError
from lightning_centernet.head_weights import ScheduledWeights
from tests.cli.conftest import FEW, TINY, Run
from tests.cli.test_conf import CONF, composed

WORDS = [*TINY, *FEW, "callbacks=[checkpoints,gradient_norms,progress]", "logger=csv"]


def logged(folder: str) -> dict[str, list[float]]:
    with (Path(folder) / "csv/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_learned_weights_from_training_to_validation(run: Run, capsys: pytest.CaptureFixture) -> None:
    words = [*WORDS, "weighting=kendall", "model.on_anomaly=skip", "model.normalize=global"]
    assert run("fit", *words, "trainer.max_epochs=1", "output_dir=a") == 0
    values = logged("a")
    assert values["train/skipped_steps"] == [0]
    for name in ("hm", "wh", "reg"):
        assert values[f"train/gradient/{name}"][0] > 0
        assert f"train/log_variance/{name}" in values
    assert run("validate", *FEW, "data.num_workers=0", "trainer=cpu", "ckpt_path=a/checkpoints/last.ckpt") == 0
    weights = torch.load("a/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["criterion.weighting.log_variances"].all()
    assert "epoch 1 of 1  train/tot " in capsys.readouterr().out
    assert run("fit", *WORDS, "trainer.max_epochs=2", "output_dir=c", "ckpt_path=a/checkpoints/last.ckpt") == 1
    assert "the model has fixed: take the checkpoint's, weighting=kendall, or" in capsys.readouterr().err


def test_schedule(run: Run) -> None:
    """With a weight of 0 nothing reaches the features."""
    words = ["weighting=scheduled", "+weighting.epochs.wh={0: 0.0, 1: 0.5}", "trainer.max_epochs=2", "output_dir=a"]
    assert run("fit", *WORDS, *words) == 0
    gradients = logged("a")["train/gradient/wh"]
    assert gradients[0] == 0
    assert gradients[-1] > 0


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["weighting=kendal"], 2, "weighting=kendal: must be one of fairmot, fixed, kendall, scheduled. Did you mean"),
        (["weighting=scheduled"], 1, "weighting.epochs=None: names no head"),
        (["weighting=scheduled", "+weighting.epochs.dep={0: 1}"], 1, "there is no head `dep`, only hm, wh, reg"),
        (["model.on_anomaly=skp"], 1, "model.on_anomaly=skp: must be one of raise, skip. Did you mean `skip`?"),
        (["model.normalize=all"], 1, "model.normalize=all: must be one of process, global"),
    ],
)
def test_refusals(run: Run, capsys: pytest.CaptureFixture, words: list[str], code: int, answer: str) -> None:
    assert run("fit", *WORDS, *words) == code
    assert answer in capsys.readouterr().err


def test_advice_on_schedules_can_be_pasted() -> None:
    with pytest.raises(UserError, match="names no head") as refusal:
        ScheduledWeights({"hm": 1.0, "wh": 0.1})
    config = (CONF / "weighting/scheduled.yaml").read_text()
    for text in (config.partition("epochs: null # ")[2].splitlines()[0], str(refusal.value)):
        (word,) = (word for word in shlex.split(text) if word.startswith("+"))
        assert composed("weighting=scheduled", word).weighting.epochs == {"wh": {0: 0.0, 5: 1.0}}


@pytest.mark.parametrize(
    "where", ["weighting.epochs={dep_sec: {0: 0.0, 5: 1.0}}", "+weighting.epochs.dep_sec={0: 0.0, 5: 1.0}"]
)
def test_both_ways_to_write_a_schedule(where: str) -> None:
    assert composed("weighting=scheduled", where).weighting.epochs == {"dep_sec": {0: 0.0, 5: 1.0}}
