"""What the tests train: the smallest backbones and trainers."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Trainer
from torch import nn

from lightning_centernet import CenterNet

DETECTION = {"hm": 3, "wh": 2, "reg": 2}
SIZE = (96, 128)  # of `fake_batch` unless told


class TinyBackbone(nn.Sequential):
    """Two convolutions, to stride 4."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__(nn.Conv2d(3, channels, 4, 4), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1))


def tiny_model(heads: Any = None, backbone: Any = None, kind: type[CenterNet] = CenterNet, **options: Any) -> CenterNet:
    torch.manual_seed(0)
    options = {"input_size": SIZE, "head_width": 8, "max_detections": 20} | options
    return kind(TinyBackbone() if backbone is None else backbone, heads or DETECTION, **options)


def quiet_trainer(**options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "max_epochs": 1, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return Trainer(**defaults | options)


def logged(trainer: Trainer, stage: str) -> set[str]:
    return {key.removeprefix(f"{stage}/") for key in trainer.callback_metrics if key.startswith(f"{stage}/")}
