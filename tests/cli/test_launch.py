"""A sweep whose jobs are trained by two processes each, on the CPU, started as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.cli.conftest import Run

# No batch norm, and two objects in each image: then the mean over two ranks is the mean over their common batch.
PARTS = """
import numpy as np
from torch import nn
from lightning_centernet.data import DetectionData, Sample

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 4, 4), nn.ReLU())

class Images:
    classes, category_ids = ("one", "two"), (1, 2)
    def __len__(self):
        return 8
    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        boxes = np.array([[4, 4, 30, 20], [20, 24, 60, 60]], np.float32) + index % 3
        objects = {"labels": np.array([0, 1]), "ignore": np.zeros(2, bool), "area": boxes[:, 2]}
        return Sample(image, {"boxes": boxes} | objects, index, str(index))

def data(**common):
    return DetectionData(Images, Images, **common)
"""
CONFIGS = {
    "backbone/mine.yaml": "_target_: own_ddp_parts.Net\n",
    "data/mine.yaml": "defaults: [common]\n_target_: own_ddp_parts.data\ninput_size: [64, 64]\naugmentation: null\n",
}
WORDS = [
    "--config-dir=own configs",
    "data=mine",
    "backbone=mine",
    "data.num_workers=0",
    "optimizer=sgd",
    "scheduler=none",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "callbacks=checkpoints",
    "logger=csv",
]


RUNS = "rate=0.1, 0.01"  # a folder's name that must be quoted all the way to Lightning's processes


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_sweep_of_two_processes_equals_one_with_the_doubled_batch(run: Run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own_ddp_parts.py").write_text(PARTS)
    for name, text in CONFIGS.items():
        file = tmp_path / "own configs" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    words = ["trainer.strategy=ddp", "trainer.devices=2", "data.batch_size=2", "optimizer.lr=0.1,0.01"]
    command = [sys.executable, "-m", "lightning_centernet", "fit", *WORDS, "-m", *words, f"runs_dir='{RUNS}'"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=240, stdin=subprocess.DEVNULL)
    monkeypatch.syspath_prepend(tmp_path)
    assert run("fit", *WORDS, "trainer.devices=1", "data.batch_size=4", "optimizer.lr=0.1", "output_dir=one") == 0

    (sweep,) = (tmp_path / RUNS / "fit").iterdir()  # named after the time: processes of their own mind make several
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "1", "multirun.yaml"]
    assert not (tmp_path / "runs").exists()
    one, two, other = (weights(folder) for folder in (Path("one"), sweep / "0", sweep / "1"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert any(not torch.allclose(other[name], value, rtol=1e-3) for name, value in one.items())
