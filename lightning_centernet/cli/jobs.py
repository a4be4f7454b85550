"""What each command does, once its configuration stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from lightning_centernet.cli.arguments import COMMANDS, UsageError
from lightning_centernet.cli.build import (
    build_data,
    build_model,
    build_trainer,
    require_end,
    require_split,
    use_views,
)
from lightning_centernet.cli.checkpoint import load_model, needed_checkpoint, resumable_checkpoint, transfer_weights
from lightning_centernet.cli.inspecting import inspect
from lightning_centernet.cli.messages import quiet
from lightning_centernet.cli.predicting import finds_boxes3d, predict
from lightning_centernet.cli.report import show_end, show_metrics, show_start, show_transfer
from lightning_centernet.data import DetectionData
from lightning_centernet.errors import UserError
from lightning_centernet.module import CenterNet


def run(config: DictConfig) -> float | None:
    """Run the command that `mode` names; return the value of `monitor`, for sweeps.

    Raises:
        UserError: a mistake in the configuration or the data.
    """
    quiet()
    if config.mode not in _JOBS:
        raise UsageError(f"mode={config.mode}: must be one of {', '.join(COMMANDS)}")
    config.output_dir = HydraConfig.get().runtime.output_dir  # of a sweep's job it is a folder further down
    if not isinstance(config.seed, int):
        raise UserError("seed: must be a whole number, such as seed=0")
    seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")  # on a GPU, three times as fast and precise enough
    try:
        return _JOBS[config.mode](config)
    except MisconfigurationException as error:  # Lightning's word for a user's mistake
        raise UserError(str(error)) from error


def fit(config: DictConfig) -> float | None:
    """Train, from scratch, from another model's weights, or on from a checkpoint."""
    if config.ckpt_path and config.init_from:
        raise UserError("ckpt_path resumes a run and init_from starts a new one: drop one of them")
    _refuse_views()
    checkpoint = resumable_checkpoint(config)
    require_end(config)
    data = build_data(config)
    require_split(config, data, "train")
    model = build_model(config, data)
    if config.init_from:
        show_transfer(transfer_weights(model, config.init_from), config.init_from)
    trainer = build_trainer(config)
    show_start(config, data, model)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    made_by_hand = [name for name in ("backbone", "heads", "weighting") if model.hparams[name] is None]
    camera = ["calibration=FILE_OR_FOLDER"] if finds_boxes3d(model) else []
    measured = _words("data", "experiment", "metrics", "monitor", *made_by_hand)
    show_end(
        config,
        trainer,
        {
            "predict": [*_words(*made_by_hand), "source=IMAGE_OR_FOLDER", *camera],
            "test" if "test" in data.sources else "validate": measured,
        },
    )
    metric = trainer.callback_metrics.get(config.monitor)
    return None if metric is None else float(metric)


def _refuse_views() -> None:
    """Refuse what a training would not heed; a config file may have it, for the other commands."""
    words = [word for word in HydraConfig.get().overrides.task if word.lstrip("+").startswith("test_time")]
    if words:
        raise UserError(
            f"{words[0]}: only validate, test and predict look at an image more than once: leave it out of the training"
        )


def validate(config: DictConfig) -> float | None:
    """Measure a checkpoint on the validation split."""
    return _measure(config, "val", Trainer.validate)


def test(config: DictConfig) -> float | None:
    """Measure a checkpoint on the test split."""
    return _measure(config, "test", Trainer.test)


def _measure(config: DictConfig, split: str, measure: Callable[..., Sequence[Mapping[str, float]]]) -> float | None:
    checkpoint = needed_checkpoint(config)
    model = load_model(config, checkpoint)
    if not any(word.startswith("data.input_size=") for word in _words("data")):
        config.data.input_size = list(model.input_size)
    data = build_data(config)
    require_split(config, data, split)
    _check_classes(model, data, checkpoint)
    _check_joints(model, data, checkpoint)
    data.show_at(use_views(config, model, data.input_size))
    (metrics,) = measure(build_trainer(config), model, datamodule=data, verbose=False)
    monitor = config.monitor.replace("val/", f"{split}/")
    show_metrics(metrics, f"{checkpoint} on {len(data.dataset(split))} images of {split}", monitor)
    return metrics.get(monitor)


def _check_classes(model: CenterNet, data: DetectionData, checkpoint: Path) -> None:
    theirs, ours = tuple(model.classes or ()), tuple(data.classes)
    if theirs and theirs != ours:
        raise UserError(
            f"ckpt_path={checkpoint}: was trained on the classes {', '.join(theirs)}, but the data has "
            f"{', '.join(ours)}: choose its own data with data=... and data.classes=..."
        )


def _check_joints(model: CenterNet, data: DetectionData, checkpoint: Path) -> None:
    theirs, ours = (owner.skeleton.names if owner.skeleton else () for owner in (model, data))
    if theirs and theirs != ours and "keypoints" in model.fields:
        raise UserError(
            f"ckpt_path={checkpoint}: was trained on the joints {', '.join(theirs)}, but the data has "
            f"{', '.join(ours) or 'none'}: name them in the categories of its file, or in data.keypoints.names=[...]"
        )


def _words(*groups: str) -> list[str]:
    """Return the words of the command line that set something in these groups, and where own configs are."""
    if not groups:
        return []
    flags = [word for word in sys.argv[1:] if word.startswith("--config-")]
    named = re.compile(rf"[+~]*({'|'.join(groups)})\b")
    return flags + [word for word in HydraConfig.get().overrides.task if named.match(word)]


_JOBS = {"fit": fit, "validate": validate, "test": test, "predict": predict, "inspect": inspect}
