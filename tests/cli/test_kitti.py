"""KITTI's recipe from training to the evaluation of its result files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lightning_centernet.evaluation_kitti import evaluate_kitti
from tests.cli.conftest import TINY, Run
from tests.fakes_kitti import CAR, PEDESTRIAN, write_kitti

MONITOR = "val/Car/bev_ap11_moderate_iou0.5"


def test_recipe_measures_what_its_files_measure(run: Run, capsys: pytest.CaptureFixture) -> None:
    near = [box._replace(location=(3.0 * place, 1.6, 5.0)) for place, box in enumerate((CAR, PEDESTRIAN))]
    frames = {f"{number:06d}": [box.line for box in near] for number in range(3)}
    root = write_kitti(Path("kitti"), frames, size=(400, 100))
    words = [*TINY, f"data.root={root}", "data.val_split=train", "trainer.max_epochs=1", "trainer.precision=32"]
    words += ["backbone.name=resnet10t", "logger=csv", "callbacks=[default,kitti_results]", "output_dir=out"]
    assert run("fit", "experiment=ddd_kitti_3dop", *words) == 0
    assert f"  {MONITOR} 0\n" in capsys.readouterr().out
    assert Path("out/checkpoints/epoch_000_0.000.ckpt").is_file()
    with Path("out/csv/metrics.csv").open() as file:
        logged = next(row for row in csv.DictReader(file) if row[MONITOR])
    scores = evaluate_kitti("kitti/training/label_2", "out/kitti", "kitti/ImageSets/train.txt")
    assert scores["Car/bbox_ap40_moderate_iou0.7"] >= 0 > scores["Cyclist/bbox_ap40_moderate_iou0.5"]
    for name, score in scores.items():
        assert float(logged[f"val/{name}"]) == pytest.approx(score, abs=1e-3, nan_ok=True)
