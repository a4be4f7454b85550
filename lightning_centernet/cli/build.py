"""Objects from the config."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from hydra.utils import get_class, instantiate
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ProgressBar
from omegaconf import DictConfig, OmegaConf

from lightning_centernet.callbacks import LogEveryEpoch
from lightning_centernet.data.module import DetectionData
from lightning_centernet.errors import UserError
from lightning_centernet.module import CenterNet
from lightning_centernet.views import Views, view_sizes

# They turn the model's weights into another type, but not the batches.
_UNFIT_PRECISIONS = ("64", "64-true", "16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")


def build_data(config: DictConfig) -> DetectionData:
    """Build the data module.

    Raises:
        UserError: a needed key has no value, or `data` names no data module of ours.
    """
    missing = sorted(key for key in OmegaConf.missing_keys(config) if key.startswith("data."))
    if missing:
        raise UserError(f"{', '.join(missing)}: not set; add {' '.join(f'{key}=...' for key in missing)}")
    if "_target_" not in config.data:
        raise UserError("data: has no `_target_`; choose data=street, data=voc, data=coco or a config of your own")
    data = instantiate(config.data, _convert_="all")
    if not isinstance(data, DetectionData):
        raise UserError(f"data._target_={config.data._target_}: must make a DetectionData, not {type(data).__name__}")
    return data


def require_split(config: DictConfig, data: DetectionData, split: str) -> None:
    """Make sure that a split can be read, before anything slow begins.

    Raises:
        UserError: the config names no such split, or it cannot be read.
    """
    if split not in data.sources:
        keys = [str(key) for key, value in config.data.items() if value is None and str(key).startswith(split)]
        missing = " ".join(f"data.{key}=..." for key in keys) or f"a {split} split to the data"
        raise UserError(f"there is no data to {config.mode}: add {missing}")
    data.dataset(split)


def require_end(config: DictConfig) -> None:
    """Make sure that the training ends where the learning rate falls until the end.

    Raises:
        UserError: it has no end.
    """
    unset, schedule = (None, -1), config.scheduler or {}
    kind = str(schedule.get("_target_")).rpartition(".")[-1]
    over_epochs = schedule.get("T_max", 1) in unset
    over_steps = kind == "OneCycleLR" and schedule.get("total_steps") is None and config.trainer.max_steps in unset
    if config.trainer.max_epochs in unset and (over_epochs or over_steps):
        raise UserError(f"scheduler: {kind} must know the end of the training: set trainer.max_epochs=30, for example")


def build_model(config: DictConfig, data: DetectionData) -> CenterNet:
    """Build the model for the data's classes."""
    kind = model_class(config)
    options: Any = OmegaConf.to_container(config.model, resolve=True)
    del options["_target_"]
    if data.skeleton:
        options["skeleton"] = data.skeleton.plain()
    return kind(
        **network_parts(config, "backbone", "heads", "weighting"),
        **training_parts(config),
        classes=data.classes,
        category_ids=data.category_ids,
        input_size=tuple(config.data.input_size),
        **options,
    )


def use_views(config: DictConfig, model: CenterNet, input_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Let a model look at images as `test_time` says; return the further input sizes that it needs.

    Raises:
        UserError: the values make no sense, or not for this model.
    """
    options: Any = OmegaConf.to_container(config.test_time, resolve=True)
    model.views = Views(**options)
    return view_sizes(model, input_size)


def model_class(config: DictConfig) -> type[CenterNet]:
    """Return the class that `model._target_` names.

    Raises:
        UserError: it is no CenterNet.
    """
    kind = get_class(config.model._target_)
    if not issubclass(kind, CenterNet):
        raise UserError(f"model._target_={config.model._target_}: must be CenterNet or a subclass of it")
    return kind


def network_parts(config: DictConfig, *names: str) -> dict[str, Any]:
    """Build those parts that have a `_target_`; hand on plain descriptions as they are."""
    return {name: instantiate(config[name], _convert_="all") for name in names}


def training_parts(config: DictConfig) -> dict[str, Any]:
    """Build the factories that no checkpoint holds; None for an empty choice such as `scheduler=none`."""
    return {name: instantiate(config[name]) or None for name in ("optimizer", "scheduler", "metrics")}


def build_trainer(config: DictConfig) -> Trainer:
    """Build the trainer, with its loggers and callbacks.

    Raises:
        UserError: Lightning refuses an argument, or the model does not train with this precision.
    """
    if str(config.trainer.precision) in _UNFIT_PRECISIONS:
        raise UserError(f"trainer.precision={config.trainer.precision}: does not fit the batches: use bf16-mixed")
    loggers = [instantiate(logger, _convert_="all") for logger in config.logger.values()]
    config.monitor_mode = config.monitor_mode or _better(str(config.monitor), config.heads)
    callbacks = [instantiate(callback, _convert_="all") for callback in config.callbacks.values()]
    unwanted = _unwanted_callbacks(config, logged=bool(loggers))
    callbacks = [callback for callback in callbacks if not isinstance(callback, unwanted)] + [LogEveryEpoch()]
    _validate_at_least_once(config)
    make: Callable[..., Trainer] = instantiate(config.trainer, _partial_=True, _convert_="all")
    try:
        return make(logger=loggers or False, callbacks=callbacks)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


def _better(name: str, heads: Iterable[str]) -> Literal["min", "max"]:
    """Tell if less or more of what is logged is better: losses, named `tot` or as their heads, and errors must fall."""
    falls = name.partition("/")[2] in ("tot", *heads) or re.search("error|loss", name.lower())
    return "min" if falls else "max"


def _validate_at_least_once(config: DictConfig) -> None:
    """Shorten the pause between validations to the training: without one there is no best checkpoint."""
    epochs, pause = config.trainer.max_epochs, config.trainer.check_val_every_n_epoch
    if epochs and pause and 0 < epochs < pause:
        config.trainer.check_val_every_n_epoch = epochs


def _unwanted_callbacks(config: DictConfig, *, logged: bool) -> tuple[type[Callback], ...]:
    """List the kinds of callbacks that Lightning refuses next to a setting that turns their purpose off."""
    wanted = {
        LearningRateMonitor: logged,
        Checkpoint: config.trainer.enable_checkpointing,
        ProgressBar: config.trainer.enable_progress_bar,
    }
    return tuple(kind for kind, value in wanted.items() if not value)
