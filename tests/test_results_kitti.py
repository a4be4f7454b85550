"""KITTI's result files, read back."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_centernet.data import kitti_data, read_kitti
from lightning_centernet.errors import UserError
from lightning_centernet.result_files import KittiResults
from lightning_centernet.results_kitti import kitti_results, write_kitti_results
from tests.fakes_kitti import write_kitti
from tests.heads.test_box3d import DDD
from tests.tiny import quiet_trainer, tiny_model

CLASSES = ("Pedestrian", "Car", "Cyclist")


def prediction(image_id=3, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 20
    return {
        "boxes": torch.cat([corner, corner + 5 + 20 * torch.rand(count, 2, generator=generator)], -1),
        "scores": torch.rand(count, generator=generator) ** 8,
        "labels": torch.randint(3, (count,), generator=generator),
        "alpha": 6 * torch.rand(count, generator=generator) - 3,
        "dimensions": 1 + torch.rand(count, 3, generator=generator),
        "location": 1 + 20 * torch.rand(count, 3, generator=generator),
        "rotation_y": 6 * torch.rand(count, generator=generator) - 3,
        "image_id": torch.tensor(image_id),
    }


def test_round_trip(tmp_path):
    """Result files have the form of label files, and a score."""
    root = write_kitti(tmp_path / "kitti")
    first, second = prediction(3), prediction(7, seed=1)
    write_kitti_results(root / "training/label_2", [first, second], CLASSES)
    for record, expected in zip(read_kitti(root, "all").records, (first, second), strict=True):
        assert record.annotations["labels"].tolist() == expected["labels"].tolist()
        for name in ("boxes", "alpha", "dimensions", "location", "rotation_y"):
            torch.testing.assert_close(torch.from_numpy(record.annotations[name]), expected[name], rtol=0, atol=1e-4)
        lines = (root / f"training/label_2/{record.image_id:06d}.txt").read_text().splitlines()
        scores = torch.tensor([float(line.split()[-1]) for line in lines])
        assert torch.equal(scores, expected["scores"])


def test_a_line_in_full():
    one = {
        "boxes": torch.tensor([[1.0, 2.0, 30.5, 40.25]]),
        "scores": torch.tensor([0.5]),
        "labels": torch.tensor([1]),
        "image_id": torch.tensor(0),
    }
    box = "Car -1 -1 {} 1.0000 2.0000 30.5000 40.2500"
    assert kitti_results(one, CLASSES) == (
        box.format("-10.0000") + " -1.0000 -1.0000 -1.0000 -1000.0000 -1000.0000 -1000.0000 -10.0000 0.5\n"
    )
    one |= {
        "alpha": torch.tensor([4.0]),
        "dimensions": torch.tensor([[1.5, 1.6, 4.0]]),
        "location": torch.tensor([[-3.0, 1.25, 20.0]]),
        "rotation_y": torch.tensor([-0.5]),
    }
    expected = f"{box.format(f'{4 - 2 * math.pi:.4f}')} 1.5000 1.6000 4.0000 -3.0000 1.2500 20.0000 -0.5000 0.5\n"
    assert kitti_results(one, CLASSES) == expected


def test_empty_slots_and_empty_images(tmp_path):
    some = prediction()
    some["scores"][1:] = 0
    write_kitti_results(tmp_path / "new", [some, prediction(12, count=0)], CLASSES)
    assert len((tmp_path / "new/000003.txt").read_text().splitlines()) == 1
    assert (tmp_path / "new/000012.txt").read_text() == ""


def test_mistakes(tmp_path):
    broken = prediction()
    broken["location"][2, 1] = math.nan
    with pytest.raises(UserError, match="image 3: a detection is not finite"):
        write_kitti_results(tmp_path, [broken], CLASSES)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the results"):
        write_kitti_results(tmp_path / "file", [prediction()], CLASSES)


def test_detections_without_boxes():
    bare = {name: values for name, values in prediction().items() if name != "boxes"}
    with pytest.raises(UserError, match="result files need boxes, but only alpha, dimensions"):
        kitti_results(bare, CLASSES)


def test_a_name_is_one_word():
    for line in kitti_results(prediction(), ["traffic light", "stop  sign", "bus stop"]).splitlines():
        assert line.split(" -1 -1 ")[0] in ("traffic_light", "stop_sign", "bus_stop")
        assert len(line.split()) == 16


def test_files_of_an_evaluation(tmp_path):
    """They hold what the metrics get: one file a frame, named like the frame."""
    data = kitti_data(
        write_kitti(tmp_path / "kitti"), test_split="all", input_size=(64, 192), batch_size=1, num_workers=0
    )
    model = tiny_model(DDD, classes=CLASSES, input_size=(64, 192)).eval()
    quiet_trainer(callbacks=[KittiResults(tmp_path / "results")]).test(model, data, verbose=False)
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == ["000003.txt", "000007.txt"]
    expected = quiet_trainer().predict(model, data.test_dataloader())
    for (picture,) in expected:
        assert (tmp_path / f"results/{picture['image_id']:06d}.txt").read_text() == kitti_results(picture, CLASSES)
    for lines in (file.read_text().splitlines() for file in (tmp_path / "results").iterdir()):
        assert len(lines) == 20
        assert all(len(line.split()) == 16 for line in lines)
