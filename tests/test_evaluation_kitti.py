"""KITTI's metrics of files, whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lightning_centernet.data import kitti_data
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import ground_truth
from lightning_centernet.evaluation_kitti import evaluate_kitti
from lightning_centernet.metrics import KittiMetrics
from lightning_centernet.results_kitti import write_kitti_results
from tests.fakes_kitti import CAR, PEDESTRIAN, SITTING, VAN, write_kitti
from tests.golden_files import COMMITTED

CLASSES = ("Pedestrian", "Car", "Cyclist")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Labels and results of one frame: the car is found, and something else."""
    near = CAR._replace(location=(-1.0, 1.6, 5.0)).line
    for name, lines in (("labels", [near]), ("results", [f"{near} 0.9", f"{PEDESTRIAN.line} 0.2"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000001.txt").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path / "labels", tmp_path / "results"


def test_equals_the_official_program(tmp_path: Path) -> None:
    content = json.loads((COMMITTED / "kitti_official.json").read_text())
    for folder in ("labels", "detections"):
        (tmp_path / folder).mkdir()
        for number, frame in enumerate(content["frames"]):
            (tmp_path / folder / f"{number:06d}.txt").write_text("".join(f"{line}\n" for line in frame[folder]))
    scores = evaluate_kitti(tmp_path / "labels", tmp_path / "detections")
    assert {name: scores[name] for name in content["scores"]} == pytest.approx(content["scores"], abs=1e-8)


def test_written_files_measure_as_the_metric_in_training(tmp_path: Path) -> None:
    """With the labels that the reader gave to the metric, and other detections than those."""
    near = [box._replace(location=(3.0 * place, 1.6, 5.0)) for place, box in enumerate((CAR, PEDESTRIAN, VAN, SITTING))]
    frames = {f"{number:06d}": [box.line for box in near] for number in range(20)}
    root = write_kitti(tmp_path / "kitti", frames, size=(1000, 100))
    data = kitti_data(root, train_split=None, val_split="all", batch_size=20, num_workers=0, input_size=(64, 64))
    (batch,) = data.val_dataloader()
    generator = torch.Generator().manual_seed(0)
    truth, found = ground_truth(batch), []
    for each in truth:
        noisy = {name: values[:4] for name, values in each.items() if name != "image_id"}
        noisy["location"] = noisy["location"] + 0.2 * torch.randn(4, 3, generator=generator)
        noisy["boxes"] = noisy["boxes"] + 2 * torch.randn(4, 4, generator=generator)
        noisy = {name: values.double().mul(1e4).round().div(1e4) if values.is_floating_point() else values
                 for name, values in noisy.items()}  # fmt: skip
        scores = torch.rand(4, generator=generator)
        scores[:2] *= len(found) % 3 > 0  # a slot without a detection has the score 0
        found.append(noisy | {"scores": scores, "image_id": each["image_id"]})
    metric = KittiMetrics(CLASSES)
    metric.update(found, truth)
    write_kitti_results(tmp_path / "results", found, CLASSES)
    labels = root / "training/label_2"
    scores = evaluate_kitti(labels, tmp_path / "results", root / "ImageSets/train.txt", CLASSES)
    assert scores == pytest.approx(metric.compute(), abs=1e-4, nan_ok=True)  # which rounds to three decimals
    assert 1 < scores["Car/3d_ap40_moderate_iou0.5"] < 99
    (tmp_path / "results/000099.txt").write_text("")  # not on the list
    again = evaluate_kitti(str(labels), str(tmp_path / "results"), list(frames), CLASSES)
    assert again == pytest.approx(scores, abs=0, nan_ok=True)


def test_empty_files(folders: tuple[Path, Path]) -> None:
    labels, results = folders
    assert evaluate_kitti(labels, results)["Car/bbox_ap11_hard_iou0.7"] > 0
    (results / "000001.txt").write_text("")
    assert evaluate_kitti(labels, results)["Car/bbox_ap40_hard_iou0.7"] == 0
    (labels / "000001.txt").write_text("")
    assert evaluate_kitti(labels, results)["Car/bbox_ap40_hard_iou0.7"] == -1


def test_scores_of_0_in_files_are_scores(folders: tuple[Path, Path]) -> None:
    expected, file = evaluate_kitti(*folders), folders[1] / "000001.txt"
    file.write_text(file.read_text().replace("0.9\n", "0\n").replace("0.2\n", "-0.5\n"))
    assert evaluate_kitti(*folders) == pytest.approx(expected, abs=0, nan_ok=True)


def test_missing_files(folders: tuple[Path, Path], tmp_path: Path) -> None:
    labels, results = folders
    (labels / "000002.txt").write_text("")
    with pytest.raises(UserError, match=r"results/000002\.txt: no such file: where nothing is found it must be empty"):
        evaluate_kitti(labels, results, ["000001", "000002"])
    (results / "000003.txt").write_text("")
    with pytest.raises(UserError, match=r"labels/000003\.txt: no such file: take the frame out of the list"):
        evaluate_kitti(labels, results)
    with pytest.raises(UserError, match=r"nowhere: there are no result files"):
        evaluate_kitti(labels, tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"val\.txt: no such list of frames"):
        evaluate_kitti(labels, results, tmp_path / "val.txt")


@pytest.mark.parametrize(
    ("folder", "line", "message"),
    [
        ("results", CAR.line, "there must be 15 numbers, not 'Car 0.25"),
        ("results", f"{CAR.line} 0.9 1", "there must be 15 numbers"),
        ("labels", f"{CAR.line} 0.9", "there must be 14 numbers"),
        ("labels", CAR.line.replace("Car", "car"), "unknown type 'car'"),
        ("results", f"{CAR.line} nan", "holds something else than finite numbers"),
        ("results", f"{CAR.line} high", "there must be 15 numbers"),
    ],
)
def test_lines_that_are_wrong(folders: tuple[Path, Path], folder: str, line: str, message: str) -> None:
    file = folders[folder == "results"] / "000001.txt"
    file.write_text(f"{file.read_text()}{line}\n")
    with pytest.raises(UserError, match=rf"{folder}/000001\.txt, line [23]: .*{message}"):
        evaluate_kitti(*folders)
