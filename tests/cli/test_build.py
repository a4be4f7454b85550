"""What is refused before anything slow begins."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_centernet.cli.build import build_trainer, require_end
from lightning_centernet.errors import UserError
from tests.cli.conftest import FEW, TINY, Run
from tests.cli.test_conf import composed


@pytest.mark.parametrize("scheduler", ["onecycle", "cosine"])
@pytest.mark.parametrize("epochs", ["null", "-1"])
def test_a_schedule_needs_an_end(scheduler: str, epochs: str) -> None:
    with pytest.raises(UserError, match=r"set trainer\.max_epochs"):
        require_end(composed(f"scheduler={scheduler}", f"trainer.max_epochs={epochs}"))


@pytest.mark.parametrize(
    "words",
    [
        "scheduler=onecycle",
        "scheduler=cosine",
        "scheduler=onecycle trainer.max_epochs=-1 trainer.max_steps=9",
        "scheduler=onecycle trainer.max_epochs=-1 +scheduler.total_steps=9",
        "scheduler=cosine trainer.max_epochs=-1 scheduler.T_max=9",
        "scheduler=multistep trainer.max_epochs=-1",
        "scheduler=none trainer.max_epochs=null",
    ],
)
def test_schedules_with_an_end_or_without_need_of_one(words: str) -> None:
    require_end(composed(*words.split()))


@pytest.mark.parametrize("precision", ["64", "64-true", "16-true", "bf16-true", "transformer-engine"])
def test_precisions_that_do_not_fit_the_batches(precision: str) -> None:
    config = composed("trainer=cpu", "callbacks=none", "logger=none", f"trainer.precision={precision}")
    with pytest.raises(UserError, match=f"trainer.precision={precision}: .*use bf16-mixed"):
        build_trainer(config)


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ("monitor=val/map", "max"),
        ("monitor=val/Car/bev_ap11_moderate_iou0.5", "max"),
        ("monitor=val/tot", "min"),
        ("monitor=val/hm", "min"),
        ("monitor=val/dep heads=ddd", "min"),
        ("monitor=val/vehicle/depth_error_metres_moderate_iou0.5", "min"),
        ("monitor=val/mine monitor_mode=min", "min"),
    ],
)
def test_the_best_checkpoint_is_that_of_the_least_loss_and_the_highest_precision(words: str, mode: str) -> None:
    callbacks = ["callbacks=[checkpoints,early_stopping]", "output_dir=out", "logger=none", "trainer=cpu"]
    trainer = build_trainer(composed(*callbacks, *words.split()))
    kept = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint) and each.monitor]
    assert [each.mode for each in kept] == [mode]
    assert [each.mode for each in trainer.callbacks if isinstance(each, EarlyStopping)] == [mode]


def test_another_mode(run: Run, capsys: pytest.CaptureFixture) -> None:
    assert run("fit", *TINY, *FEW, "monitor_mode=most") == 1
    assert "`mode` can be" in capsys.readouterr().err
