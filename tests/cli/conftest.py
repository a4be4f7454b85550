"""Run the command line in this process."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hydra.core.singleton import Singleton

from lightning_centernet.cli import main

Run = Callable[..., int]

TINY = [
    "data.input_size=[64,64]",
    "data.batch_size=2",
    "data.num_workers=0",
    "backbone.pretrained=false",
    "model.head_width=8",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
]
FEW = ["data.train_size=4", "data.val_size=2", "data.test_size=2", "scheduler=none", "backbone.name=resnet10t"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run `lightning-centernet` with these words in an empty folder; returns the exit code."""
    with command_line(tmp_path) as call:
        yield call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a tiny training."""
    folder = tmp_path_factory.mktemp("trained")
    with command_line(folder) as call:
        assert call("fit", *TINY, *FEW, "trainer.max_epochs=1", "output_dir=out") == 0
    return folder / "out/checkpoints/last.ckpt"


@contextmanager
def command_line(folder: Path) -> Iterator[Run]:
    """Put back what a job changes in this process."""
    singletons, precision = copy.deepcopy(Singleton.get_state()), torch.get_float32_matmul_precision()
    handlers = list(logging.getLogger().handlers)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)

        def call(*words: str) -> int:
            patch.setattr(sys, "argv", ["lightning-centernet", *words])
            try:
                main()
            except SystemExit as leaving:
                return int(leaving.code or 0)
            return 0

        yield call
    Singleton.set_state(singletons)
    torch.set_float32_matmul_precision(precision)
    logging.getLogger().handlers[:] = handlers
