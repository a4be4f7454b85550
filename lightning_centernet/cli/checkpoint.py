"""Find a checkpoint, rebuild the model from it, or take only its weights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig
from torch import Tensor, nn

from lightning_centernet.checkpoints import read_checkpoint
from lightning_centernet.cli.build import model_class, network_parts, training_parts
from lightning_centernet.errors import UserError
from lightning_centernet.module import CenterNet


class Transfer(NamedTuple):
    """What became of a checkpoint's weights, by name.

    Attributes:
        loaded: same name and shape.
        skipped: same name, another shape: the file's and the model's.
        missing: only in the model; they keep their initial values.
        unexpected: only in the file.
    """

    loaded: list[str]
    skipped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    missing: list[str]
    unexpected: list[str]


def find_checkpoint(config: DictConfig) -> Path | None:
    """Return the file that `ckpt_path` means, None if it is null.

    `last` is the newest `last.ckpt` in `output_dir`, or if there is none, of all runs under `runs_dir`.

    Raises:
        UserError: there is no such file.
    """
    if config.ckpt_path is None:
        return None
    if config.ckpt_path != "last":
        return _existing("ckpt_path", config.ckpt_path)
    for folder in (config.output_dir, config.runs_dir):
        found = sorted(Path(folder).glob("**/checkpoints/last.ckpt"), key=lambda file: file.stat().st_mtime)
        if found:
            return found[-1]
    raise UserError(
        f"ckpt_path=last: no last.ckpt under runs_dir={config.runs_dir}; name a file, or set runs_dir to your runs"
    )


def resumable_checkpoint(config: DictConfig) -> Path | None:
    """Return the file that `ckpt_path` means, None if it is null.

    Raises:
        UserError: there is no such file, or no training can go on from it.
    """
    file = find_checkpoint(config)
    if file and "optimizer_states" not in read_checkpoint(file):
        raise UserError(
            f"ckpt_path={file}: holds only weights, nothing to resume: start from them with init_from={file}"
        )
    return file


def needed_checkpoint(config: DictConfig) -> Path:
    """Return the file that `ckpt_path` means.

    Raises:
        UserError: it is null, or there is no such file.
    """
    file = find_checkpoint(config)
    if file is None:
        raise UserError(f"{config.mode} needs a trained model: add ckpt_path=<file>, or ckpt_path=last")
    return file


def load_model(config: DictConfig, file: Path) -> CenterNet:
    """Rebuild the model from a checkpoint alone; only parts made by hand are taken from the config."""
    stored = read_checkpoint(file).get("hyper_parameters")
    if stored is None:
        raise UserError(f"ckpt_path={file}: holds only weights, no model: use fit init_from={file}")
    absent = [name for name in ("backbone", "heads", "weighting") if stored.get(name) is None]
    parts = network_parts(config, *absent) | training_parts(config)
    return model_class(config).load_from_checkpoint(file, **parts)


def transfer_weights(model: nn.Module, path: str) -> Transfer:
    """Copy the weights whose names and shapes match; the rest of the model stays as it is.

    Raises:
        UserError: there is no such file, or nothing in it matches.
    """
    weights: dict[str, Tensor] = read_checkpoint(_existing("init_from", path))["state_dict"]
    own = model.state_dict()
    shared = [name for name in own if name in weights]
    loaded = [name for name in shared if own[name].shape == weights[name].shape]
    if not loaded:
        raise UserError(f"init_from={path}: none of its {len(weights)} tensors fits the model by name and shape")
    model.load_state_dict({name: weights[name] for name in loaded}, strict=False)
    return Transfer(
        loaded,
        {name: (tuple(weights[name].shape), tuple(own[name].shape)) for name in shared if name not in loaded},
        [name for name in own if name not in weights],
        [name for name in weights if name not in own],
    )


def _existing(key: str, path: str) -> Path:
    file = Path(path)
    if not file.is_file():
        nearby = sorted(file.parent.glob("*.ckpt"))
        hint = f"; there is {', '.join(other.name for other in nearby)}" if nearby else ""
        raise UserError(f"{key}={path}: no such file{hint}")
    return file
