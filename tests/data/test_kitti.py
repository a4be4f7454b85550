from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_centernet.data import Transform, inspect_data, inspect_dataset, kitti_data, read_kitti
from lightning_centernet.data.boxes3d import projected_overlaps
from lightning_centernet.data.kitti import TYPES
from lightning_centernet.data.problems import collect_problems
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import ground_truth
from lightning_centernet.metrics import KittiMetrics
from lightning_centernet.metrics.kitti_rules import TYPES as TYPES_OF_METRICS
from tests.fakes_kitti import CAR, DONT_CARE, P2, PEDESTRIAN, SITTING, VAN, write_calibration, write_kitti


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_kitti(tmp_path / "kitti")


def with_line(tmp_path: Path, line: str) -> Path:
    return write_kitti(tmp_path / "kitti", {"000001": [PEDESTRIAN.line, line]})


def changed(column: int, *words: str) -> str:
    """Return the car's line with other words from a column on, counted as in KITTI's documentation from 0."""
    line = CAR.line.split()
    line[column : column + len(words)] = words
    return " ".join(line)


def test_objects_are_as_written(root: Path) -> None:
    dataset = read_kitti(root, "train")
    assert (dataset.classes, dataset.category_ids) == (("Pedestrian", "Car", "Cyclist"), (1, 2, 3))
    first, second = dataset.records
    assert (first.image_id, first.width, first.height, first.file.name) == (3, 160, 48, "000003.png")
    objects = first.annotations
    assert objects["labels"].tolist() == [1, 0, 1, 0, -1]  # the tram is left out
    assert objects["ignore"].tolist() == [False, False, True, True, True]
    assert [TYPES[number] for number in objects["types"]] == ["Car", "Pedestrian", "Van", "Person_sitting", "DontCare"]
    for row, box in enumerate((CAR, PEDESTRIAN, VAN, SITTING)):
        for name in ("location", "dimensions", "rotation_y", "alpha"):
            np.testing.assert_allclose(objects[name][row], getattr(box, name), rtol=0, atol=1e-4)
        np.testing.assert_allclose(objects["boxes"][row], box.box, rtol=0, atol=1e-3)
        np.testing.assert_allclose(objects["amodal_centers"][row], box.middle, rtol=0, atol=1e-3)
        assert objects["depth"][row] == objects["location"][row, 2]
        assert (objects["truncation"][row], objects["occlusion"][row]) == (0.25, 1)
    for name in ("location", "dimensions", "rotation_y", "alpha", "depth", "amodal_centers"):
        assert np.isnan(objects[name][4]).all()
    np.testing.assert_allclose(first.calibration, P2, rtol=1e-6)
    assert second.annotations["location"].shape == (0, 3)
    assert all(values.dtype in (np.float32, np.int64, np.bool_) for values in objects.values())


def test_metrics_number_the_types_alike() -> None:
    assert TYPES == TYPES_OF_METRICS


def test_metrics_count_cars_and_neither_neighbours_nor_regions(tmp_path: Path) -> None:
    """Who also finds the van and the person sitting does not lose by it."""
    near = [box._replace(location=(3.0 * place, 1.6, 5.0)) for place, box in enumerate((CAR, PEDESTRIAN, VAN, SITTING))]
    frames = dict.fromkeys((f"{number:06d}" for number in range(41)), (*(box.line for box in near), DONT_CARE))
    root = write_kitti(tmp_path / "kitti", frames, size=(1000, 100))
    data = kitti_data(root, train_split=None, val_split="all", batch_size=41, num_workers=0, input_size=(64, 64))
    (batch,) = data.val_dataloader()
    truth = ground_truth(batch)
    found = [{name: values[:4] for name, values in each.items() if name != "image_id"} for each in truth]
    found = [each | {"scores": torch.linspace(0.9, 0.5, 4)} for each in found]
    metric = KittiMetrics(data.classes)
    metric.update(found, truth)
    scores = metric.compute()
    for name in ("Car/3d_ap40_moderate_iou0.7", "Car/aos_ap40_moderate_iou0.7", "Pedestrian/3d_ap11_moderate_iou0.5"):
        assert scores[name] == pytest.approx(100)
    assert scores["Cyclist/3d_ap40_moderate_iou0.5"] == -1


def test_splits_and_classes(root: Path) -> None:
    assert [len(read_kitti(root, split)) for split in ("train", "val", "all")] == [2, 1, 2]
    cars = read_kitti(root, "val", ["Car"]).records[0].annotations
    assert cars["labels"].tolist() == [0, 0, -1]
    vans = read_kitti(root, "val", ["Car", "Van"]).records[0].annotations
    assert (vans["labels"].tolist(), vans["ignore"].tolist()) == ([0, 1, -1], [False, False, True])
    data = kitti_data(root, batch_size=2, num_workers=0, input_size=(64, 192))
    batch = next(iter(data.val_dataloader()))
    assert batch["calibration"].shape == (1, 3, 4)
    assert batch["annotations"]["location"].shape == (1, 128, 3)


def test_a_box_is_its_projection(root: Path) -> None:
    overlaps = projected_overlaps(read_kitti(root, "val")[0])
    torch.testing.assert_close(overlaps[:2], torch.ones(2).double(), rtol=0, atol=1e-3)
    assert overlaps[2:].isnan().all()  # ignored
    other = P2.copy()
    other[0, 2] += 8
    write_calibration(root / "training/calib/000003.txt", other)
    assert (projected_overlaps(read_kitti(root, "val")[0])[:2] < 0.7).all()


def test_inspection_checks_the_calibration(root: Path) -> None:
    report = inspect_dataset(read_kitti(root, "train"))
    assert not report.problems
    assert [note for note in report.notes if re.match(r"2 3D boxes, projected, .* IoU of 1\.00 in the mean", note)]
    other = P2.copy()
    other[0, 2] += 20
    write_calibration(root / "training/calib/000003.txt", other)
    (problem,) = inspect_dataset(read_kitti(root, "train")).problems
    assert re.search(r"the worst, 0\.\d+, is in .*000003\.png: the calibration is of other pictures", problem)


def test_real_frames(shared: Path) -> None:
    dataset = read_kitti(shared / "data/kitti_object", "all")
    assert [record.image_id for record in dataset.records] == [0, 1, 2]
    assert dataset.records[1].annotations["labels"].tolist() == [1, 1, 2, -1, -1, -1, -1]
    overlaps = torch.cat([projected_overlaps(dataset[index]) for index in range(3)])
    assert (overlaps.isfinite().sum(), overlaps.nanmean() > 0.9) == (4, True)
    assert dataset[1].image.shape == (375, 1242, 3)


class TestMistakes:
    def refused(self, root: Path, message: str, split: str = "train") -> None:
        with pytest.raises(UserError, match=message):
            read_kitti(root, split)
        with collect_problems() as problems:
            read_kitti(root, split)
        assert len(problems) == 1

    @pytest.mark.parametrize("line", [CAR.line[:50], f"{CAR.line} 0.5 1", changed(4, "12,5"), "Car"])
    def test_lines_that_are_cut_off(self, tmp_path: Path, line: str) -> None:
        self.refused(with_line(tmp_path, line), r"000001\.txt, line 2: after the type there must be 14 or 15 numbers")

    def test_unknown_types(self, tmp_path: Path) -> None:
        self.refused(with_line(tmp_path, changed(0, "car")), r"000001\.txt, line 2: unknown type 'car': .* Car, Van")

    def test_missing_files(self, root: Path) -> None:
        for folder, suffix, message in (
            ("label_2", "txt", r"label_2/000007\.txt: no such label file"),
            ("calib", "txt", r"calib/000007\.txt: no such calibration file"),
            ("image_2", "png", r"image_2/000007\.png: no such picture file"),
        ):
            file = root / f"training/{folder}/000007.{suffix}"
            content = file.read_bytes()
            file.unlink()
            self.refused(root, message)
            file.write_bytes(content)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda matrix: matrix * 0, "P2 is singular"),
            (lambda matrix: matrix[[0, 0, 2]], "P2 is singular"),
            (lambda matrix: matrix * [[-1.0], [1], [1]], "P2 is mirrored"),
            (lambda matrix: matrix * [[-1.0], [-1], [1]], "P2 is mirrored"),
            (lambda matrix: matrix * np.nan, "P2 holds something else than finite numbers"),
        ],
    )
    def test_cameras_that_are_none(self, root: Path, change, message: str) -> None:
        write_calibration(root / "training/calib/000003.txt", change(P2))
        self.refused(root, rf"calib/000003\.txt: {message}")

    @pytest.mark.parametrize(
        ("text", "message"),
        [("P2: 1 2 3\n", "P2 must be 12 numbers"), ("P3: 1\n", "has no line `P2:`, only P3"), ("", "has no line")],
    )
    def test_calibrations_that_are_cut_off(self, root: Path, text: str, message: str) -> None:
        (root / "training/calib/000003.txt").write_text(text)
        self.refused(root, message)

    def test_boxes_that_are_no_numbers(self, tmp_path: Path) -> None:
        self.refused(with_line(tmp_path, changed(4, "nan")), r"000001\.txt, line 2: box .* is not four finite numbers")

    @pytest.mark.parametrize(
        ("line", "message", "lost", "kept"),
        [
            (changed(8, "0", "1.7"), "dimensions .* are not positive", ("dimensions", "amodal_centers"), ("location",)),
            (changed(13, "-4.0"), "location .* is not in front", ("location", "depth", "amodal_centers"), ("alpha",)),
            (changed(3, "3.30"), r"alpha \[3.3\] is not in \[-pi, pi\]", ("alpha",), ("location", "rotation_y")),
            (changed(14, "-7"), "rotation_y .* is not in", ("rotation_y",), ("location", "alpha")),
        ],
    )
    def test_impossible_boxes_in_space(self, tmp_path: Path, caplog, line: str, message: str, lost, kept) -> None:
        with caplog.at_level(logging.WARNING):
            objects = read_kitti(with_line(tmp_path, line), "train").records[0].annotations
        assert objects["labels"].tolist() == [0, 1]
        assert len(caplog.records) == 1
        assert caplog.records[0].getMessage().startswith("1 of 2 objects have an impossible value")
        assert re.search(rf"000001\.txt, line 2: {message}", caplog.records[0].getMessage())
        for name in lost:
            assert np.isnan(objects[name][1]).all()
        for name in kept:
            assert np.isfinite(objects[name]).all()
        assert np.isfinite(objects["boxes"]).all()

    def test_inspection_lists_all_impossible_boxes(self, tmp_path: Path, caplog) -> None:
        root = write_kitti(tmp_path / "kitti", {"000001": [changed(13, "-4.0"), PEDESTRIAN.line, changed(3, "7.0")]})
        data = kitti_data(root, val_split=None)
        with caplog.at_level(logging.WARNING):
            (report,) = inspect_data(data)
        assert not report.problems
        assert not caplog.records
        first, second = [note for note in report.notes if note.startswith("used without what depends on it: ")]
        assert "000001.txt, line 1: location [-3.0, 1.6, -4.0] is not in front of the camera" in first
        assert "000001.txt, line 3: alpha [7.0] is not in [-pi, pi]" in second

    def test_what_kitti_marks_as_unknown_is_no_mistake(self, tmp_path: Path, caplog) -> None:
        unknown = changed(3, "-10").split()
        unknown[8:15] = DONT_CARE.split()[8:15]
        with caplog.at_level(logging.WARNING):
            objects = read_kitti(with_line(tmp_path, " ".join(unknown)), "train").records[0].annotations
        assert not caplog.records
        assert np.isnan(objects["alpha"]).tolist() == [False, True]

    def test_angles_are_rounded_into_range(self, tmp_path: Path) -> None:
        objects = read_kitti(with_line(tmp_path, changed(3, "-3.15")), "train").records[0].annotations
        assert objects["alpha"][1] == np.float32(-math.pi)

    def test_folders_and_splits(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"ImageSets/trainval\.txt: no such split \(there are: train, val\)"):
            read_kitti(root, "trainval")
        with pytest.raises(
            UserError, match=r"image_2: no such folder .*holds: calib, image_2, .*give the folder that holds"
        ):
            read_kitti(root / "training")
        with pytest.raises(UserError, match=r"classes=\['Bus'\]: KITTI has no 'Bus'"):
            read_kitti(root, "train", ["Bus"])
        (root / "ImageSets/empty.txt").write_text("\n")
        self.refused(root, "there are no frames", "empty")
        (root / "ImageSets/odd.txt").write_text("000003\nframe7\n")
        self.refused(root, "named by numbers, such as 000123, not 'frame7'", "odd")


def test_testing_frames_have_no_labels(root: Path) -> None:
    (root / "training").rename(root / "testing")
    for file in (root / "testing/label_2").iterdir():
        file.unlink()
    dataset = read_kitti(root, folder="testing")
    assert [len(record.annotations["labels"]) for record in dataset.records] == [0, 0]
    assert Transform((64, 192))(dataset[0])["annotations"]["dimensions"].shape == (0, 3)
