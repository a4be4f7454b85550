"""What is refused before anything slow begins."""

from __future__ import annotations

import pytest

from lightning_centernet.cli.build import build_trainer, require_end
from lightning_centernet.errors import UserError
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
