"""3D boxes in COCO files."""

from __future__ import annotations

import copy
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_centernet import decode, encode, standard_heads
from lightning_centernet.data import (
    Augmentation,
    ImageDataset,
    Transform,
    coco_data,
    inspect_dataset,
    read_coco,
    read_kitti,
)
from lightning_centernet.data.boxes3d import projected_overlaps
from lightning_centernet.data.problems import collect_problems
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import ground_truth, per_image
from lightning_centernet.geometry.camera import wrap_angle
from lightning_centernet.preparation import prepare
from lightning_centernet.types import Grid
from tests.fakes import write_coco
from tests.fakes_coco3d import ATTRIBUTES, SEEN, TRUNCATED, kitti_content, nuscenes_content, write_3d, write_nuscenes
from tests.fakes_kitti import FRAMES, write_kitti
from tests.heads.test_box3d import DDD, learned

KITTI: dict[str, Any] = {
    "classes": ["Pedestrian", "Car", "Cyclist"],
    "ignored": {"Van": "Car", "Truck": "Car", "Person_sitting": "Pedestrian", "DontCare": None},
}


def read(folder: Path, content: dict, **options: Any) -> ImageDataset:
    return read_coco(*write_3d(folder, content), **options)


def changed(place: int, **values: Any) -> dict:
    """Make a file with one annotation changed; what is None is left out."""
    content = copy.deepcopy(nuscenes_content())
    annotation = content["annotations"][place]
    annotation |= values
    for key in [key for key, value in values.items() if value is None]:
        del annotation[key]
    return content


class TestNuscenes:
    def test_boxes_are_as_written(self, tmp_path: Path) -> None:
        dataset = read(tmp_path, nuscenes_content())
        assert dataset.classes[:3] == ("car", "truck", "bus")
        for record, (camera, boxes) in zip(dataset.records, SEEN.values(), strict=True):
            np.testing.assert_allclose(record.calibration, camera)
            assert record.calibration is not None
            assert record.calibration.dtype == np.float32
            objects = record.annotations
            for row, (box, attribute, velocity) in enumerate(boxes):
                for name in ("location", "dimensions", "rotation_y"):
                    np.testing.assert_allclose(objects[name][row], getattr(box, name), rtol=1e-6)
                assert objects["depth"][row] == objects["location"][row, 2]
                np.testing.assert_array_equal(objects["velocity"][row], np.array(velocity, np.float32))
                names = np.flatnonzero(objects["attributes"][row] == 1)
                assert [ATTRIBUTES[name + 1] for name in names] == ([ATTRIBUTES[attribute]] if attribute else [])
                assert np.isnan(objects["attributes"][row]).all() == (attribute == 0)
            assert all(values.dtype in (np.float32, np.int64, np.bool_) for values in objects.values())
        assert dataset.records[2].annotations["attributes"].shape == (0, 8)

    def test_velocity_of_either_converter(self, tmp_path: Path) -> None:
        fusion, track = (read(tmp_path / str(kind), nuscenes_content(kind)) for kind in (True, False))
        for one, other in zip(fusion.records, track.records, strict=True):
            np.testing.assert_array_equal(one.annotations["velocity"], other.annotations["velocity"])

    def test_velocity_that_is_not_known(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        content = changed(1, velocity_cam=[-10000.0] * 4)
        content["annotations"][2]["velocity_cam"] = [math.nan] * 4
        velocity = read(tmp_path, content).records[0].annotations["velocity"]
        assert np.isnan(velocity).all(axis=1).tolist() == [False, True, True]
        assert not caplog.records

    def test_velocities_of_three_numbers_beside_some_of_four(self, tmp_path: Path) -> None:
        content = changed(1, velocity_cam=[1.5, 0.0, -0.5])
        velocity = read(tmp_path, content).records[0].annotations["velocity"]
        np.testing.assert_array_equal(velocity, [values for *_, values in SEEN["wide"][1]])

    def test_alpha_is_where_the_projected_centre_is_seen(self, tmp_path: Path) -> None:
        """The converter takes the middle of the 2D box, which is elsewhere where the object is truncated."""
        x, _, z = TRUNCATED.location
        right = TRUNCATED.rotation_y - math.atan2(x, z)
        content = nuscenes_content()
        projected = read(tmp_path, content).records[0].annotations["alpha"]
        stated = read(tmp_path, content, alpha="file").records[0].annotations["alpha"]
        assert projected[2] == pytest.approx(right, abs=1e-5)
        assert stated[2] == pytest.approx(content["annotations"][2]["alpha"], abs=1e-5)
        assert abs(projected[2] - stated[2]) > 0.05
        np.testing.assert_allclose(projected[:2], stated[:2], atol=0.02)
        with pytest.raises(UserError, match="alpha='box': must be `projected` or `file`"):
            read(tmp_path, content, alpha="box")

    def test_alpha_stands_alone_without_a_rotation(self, tmp_path: Path) -> None:
        objects = read(tmp_path, changed(0, rotation_y=None, alpha=0.25)).records[0].annotations
        assert objects["alpha"][0] == 0.25
        assert np.isnan(objects["rotation_y"][0])

    def test_calibration_is_checked_like_kittis(self, tmp_path: Path) -> None:
        content = nuscenes_content()
        dataset = read(tmp_path, content)
        torch.testing.assert_close(projected_overlaps(dataset[0])[:2], torch.ones(2).double(), rtol=0, atol=1e-3)
        assert not inspect_dataset(dataset).problems
        for annotation in content["annotations"]:
            annotation["location"][1] -= annotation["dim"][0]  # as if locations were the middles of the tops
        (problem,) = inspect_dataset(read(tmp_path, content)).problems
        assert "the calibration is of other pictures" in problem

    def test_files_without_cameras_have_no_3d_boxes(self, tmp_path: Path) -> None:
        """Other tools too write `attributes` into annotations."""
        content = changed(0, dim=None, attributes={"occluded": False})
        for annotation in content["annotations"]:
            annotation.pop("dim", None)
        for image in content["images"]:
            del image["calib"]
        assert read(tmp_path, content).records[0].annotations.keys() == {"boxes", "labels", "ignore", "area"}

    def test_without_any_camera_the_2d_boxes_are_of_use(self, tmp_path: Path, caplog) -> None:
        content = changed(3, location=None)
        for image in content["images"]:
            del image["calib"]
        dataset = read(tmp_path, content)
        assert all(record.calibration is None for record in dataset.records)
        assert dataset.records[0].annotations.keys() == {"boxes", "labels", "ignore", "area"}
        (warning,) = (record.getMessage() for record in caplog.records)
        assert warning.startswith("3 of 4 annotations have a 3D box that is left out")
        assert re.search(r"instances\.json: annotation 1: .* no image has a calib", warning)
        with collect_problems() as problems:
            read(tmp_path, content)
        assert (len(problems), len(problems.notes)) == (0, 3)

    def test_annotations_may_lack_what_they_do_not_know(self, tmp_path: Path, caplog) -> None:
        keys = ("dim", "location", "depth", "rotation_y", "alpha", "attributes", "velocity_cam", "velocity")
        objects = read(tmp_path, changed(0, **dict.fromkeys(keys))).records[0].annotations
        for name in ("dimensions", "location", "depth", "rotation_y", "alpha", "attributes", "velocity"):
            assert np.isnan(objects[name][0]).all()
            assert np.isfinite(objects[name][1]).all()
        assert np.isfinite(objects["boxes"]).all()
        assert not caplog.records

    @pytest.mark.parametrize(("absent", "kept"), [("dim", ("location", "depth")), ("location", ("dimensions",))])
    def test_half_a_box_is_kept(self, tmp_path: Path, absent: str, kept: tuple[str, ...]) -> None:
        objects = read(tmp_path, changed(0, **{absent: None})).records[0].annotations
        assert all(np.isfinite(objects[name]).all() for name in (*kept, "rotation_y", "alpha"))
        assert np.isnan(objects["amodal_centers"][0]).all()

    def test_fields_that_are_asked_for_stay_as_they_are(self, tmp_path: Path) -> None:
        content = changed(0, location=None, depth=12.5)
        depth, asked = (read(tmp_path, content, fields=fields).records[0].annotations for fields in ((), ("depth",)))
        assert np.isnan(depth["depth"]).tolist() == [True, False, False]
        assert asked["depth"].tolist() == [12.5, 9.0, 8.0]


class TestKitti:
    def test_equals_kittis_own_files(self, tmp_path: Path) -> None:
        own = read_kitti(write_kitti(tmp_path / "kitti"), "train")
        converted = read(tmp_path / "coco", kitti_content(), **KITTI, alpha="file")
        assert converted.classes == own.classes
        for ours, theirs in zip(converted.records, own.records, strict=True):
            assert (ours.image_id, ours.width, ours.height) == (theirs.image_id, theirs.width, theirs.height)
            np.testing.assert_array_equal(ours.calibration, theirs.calibration)
            for name in ours.annotations.keys() - {"area"}:
                np.testing.assert_allclose(ours.annotations[name], theirs.annotations[name], rtol=0, atol=1e-5)

    def test_alpha_is_within_rounding_of_kittis(self, tmp_path: Path) -> None:
        stated, projected = (read(tmp_path, kitti_content(), **KITTI, alpha=kind) for kind in ("file", "projected"))
        for one, other in zip(stated.records, projected.records, strict=True):
            np.testing.assert_allclose(one.annotations["alpha"], other.annotations["alpha"], rtol=0, atol=1e-3)

    def test_regions_may_hold_anything(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """KITTI's tracking labels put the marks of unknown values into other places."""
        content = kitti_content()
        content["annotations"][-1] |= {"dim": [-1000.0] * 3, "location": [-10.0, -1, -1], "rotation_y": -1.0}
        objects = read(tmp_path, content, **KITTI).records[0].annotations
        assert objects["labels"].tolist()[-1] == -1
        assert np.isnan(objects["location"][-1]).all()
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    def test_real_frames(self, shared: Path, tmp_path: Path) -> None:
        own = read_kitti(shared / "data/kitti_object", "all")
        content = kitti_content() | {"images": [], "annotations": []}
        for record in own.records:
            assert record.calibration is not None
            image = {"id": record.image_id, "file_name": record.file.name, "calib": record.calibration.tolist()}
            content["images"].append(image)
            lines = (shared / f"data/kitti_object/training/label_2/{record.file.stem}.txt").read_text().splitlines()
            rows = [row for row in (line.split() for line in lines) if row[0] in (*KITTI["classes"], *KITTI["ignored"])]
            for words, box in zip(rows, record.annotations["boxes"].tolist(), strict=True):
                values = [float(word) for word in words[1:]]
                category = next(each["id"] for each in content["categories"] if each["name"] == words[0])
                content["annotations"].append(
                    {"image_id": record.image_id, "id": len(content["annotations"]), "category_id": category,
                     "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]], "dim": values[7:10],
                     "location": values[10:13], "rotation_y": values[13], "alpha": values[2]}
                )  # fmt: skip
        file, _ = write_coco(tmp_path, [], content)
        converted = read_coco(file, shared / "data/kitti_object/training/image_2", **KITTI)
        for ours, theirs in zip(converted.records, own.records, strict=True):
            for name in ours.annotations.keys() - {"area", "alpha", "boxes"}:
                np.testing.assert_allclose(ours.annotations[name], theirs.annotations[name], rtol=0, atol=1e-4)
            np.testing.assert_allclose(ours.annotations["alpha"], theirs.annotations["alpha"], rtol=0, atol=0.02)


@pytest.mark.parametrize("focal", [None, 200.0])
def test_two_cameras_give_the_same_places(tmp_path: Path, focal: float | None) -> None:
    """Whatever the camera, and the crop, a perfect network's boxes come back to where they are annotated."""
    file, images = write_nuscenes(tmp_path)
    spread = Augmentation(crop=None, shift=0.0, scale=0.1 if focal else 0.0, flip=0.5)
    transform = Transform((96, 320), spread)
    data = coco_data(train_images=images, val_annotations=file, batch_size=3, num_workers=0, input_size=(96, 320))
    data._transforms["val"] = transform
    (batch,) = data.val_dataloader()
    specs = DDD | {"hm": 10, "dep": {"focal": focal}, "velocity": None, "nuscenes_att": None}
    heads = standard_heads(specs)
    prepared = prepare(batch, heads, 4, (0.5,) * 3, (0.2,) * 3)
    ratio = prepared["dep"][:2, 0, 0] / batch["annotations"]["depth"][:2, 0]
    assert ratio[0] / ratio[1] == pytest.approx(1.0 if focal is None else 2.0, rel=0.2)
    boxes = {name: heads[name] for name in DDD}
    found = per_image(decode(learned(prepared, boxes, Grid(24, 80)), boxes, k=3), batch, 4)
    for detections, meant in zip(found, ground_truth(batch), strict=True):
        for slot in range(len(meant["labels"])):
            distance = (detections["location"] - meant["location"][slot]).norm(dim=1)
            best = distance.masked_fill(detections["scores"] < 0.9, torch.inf).argmin()
            assert distance[best] < 0.01
            assert wrap_angle(detections["rotation_y"][best] - meant["rotation_y"][slot]).abs() < 1e-3


def test_attributes_and_velocities_are_learned_where_known(tmp_path: Path) -> None:
    file, images = write_nuscenes(tmp_path)
    data = coco_data(train_images=images, val_annotations=file, batch_size=3, num_workers=0, input_size=(96, 320))
    (batch,) = data.val_dataloader()
    heads = standard_heads({"hm": 10, "nuscenes_att": None, "velocity": None})
    targets = encode(batch["annotations"], heads, (24, 80))
    assert targets["nuscenes_att"][0, :3].argmax(-1).tolist() == [6, 2, 5]
    groups = [[0] * 5 + [1] * 3, [0, 0, 1, 1, 1, 0, 0, 0], [0] * 5 + [1] * 3]
    assert targets["nuscenes_att_mask"][0, :3].tolist() == groups
    assert targets["nuscenes_att"].sum() == 3
    assert targets["nuscenes_att_mask"].sum() == 9
    assert targets["velocity_mask"].amin(-1).sum(-1).tolist() == [3, 0, 0]
    assert targets["velocity"][0, 1].tolist() == [1.5, 0, -0.5]


class TestMistakes:
    def refused(self, folder: Path, content: dict, message: str) -> None:
        with pytest.raises(UserError, match=message):
            read(folder, content)
        with collect_problems() as problems:
            read(folder, content)
        assert len(problems) == 1

    def test_images_without_a_camera(self, tmp_path: Path) -> None:
        content = nuscenes_content()
        del content["images"][1]["calib"]
        self.refused(
            tmp_path, content, r"instances\.json: image 2 \(tele\.png\): calib is missing: give the camera's projection"
        )
        del content["images"][0]["calib"]
        with pytest.raises(UserError, match=r"image 1 \(wide\.png\): calib is missing.*\(and 1 more like this"):
            read(tmp_path, content)

    @pytest.mark.parametrize(
        ("calib", "message"),
        [
            ([[1, 0, 0, 0]] * 3, "is singular"),
            ([[-90, 0, 80, 0], [0, 90, 24, 0], [0, 0, 1, 0]], "is mirrored"),
            ([[math.nan, 0, 80, 0], [0, 90, 24, 0], [0, 0, 1, 0]], "holds something else than finite"),
            ([[90, 0, 80], [0, 90, 24], [0, 0, 1]], "must be 12 numbers"),
            (None, "must be 12 numbers"),
            ("P2", "must be 12 numbers"),
        ],
    )
    def test_cameras_that_are_none(self, tmp_path: Path, calib: Any, message: str) -> None:
        content = nuscenes_content()
        content["images"][0]["calib"] = calib
        self.refused(tmp_path, content, rf"instances\.json: image 1 \(wide\.png\): calib {message}")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("dim", [1.0, 2.0], r"dim must be 3 number\(s\), not \[1.0, 2.0\]"),
            ("dim", "large", r"dim must be 3 number\(s\), not 'large'"),
            ("location", [1, 2, "x"], r"location must be 3 number\(s\)"),
            ("alpha", [0.1, 0.2], r"alpha must be 1 number\(s\)"),
            ("velocity_cam", [1.0], r"velocity_cam must be 3 or 4 number\(s\)"),
            ("attributes", 9, "attributes 9 is none of 1 cycle.with_rider, 2"),
            ("attributes", [1], r"attributes \[1\] is none of"),
            ("attributes", True, "attributes True is none of"),
            ("rotation_y", True, r"rotation_y must be 1 number\(s\), not True"),
            ("attributes", "vehicle.moving", "attributes 'vehicle.moving' is none of"),
        ],
    )
    def test_values_of_another_kind(self, tmp_path: Path, caplog, key: str, value: Any, message: str) -> None:
        self.refused(tmp_path, changed(1, **{key: value}), rf"instances\.json: annotation 2: {message}")
        assert not caplog.records  # what is refused is not warned of as well

    def test_attributes_of_another_data_set(self, tmp_path: Path) -> None:
        content = nuscenes_content()
        content["attributes"]["flying"] = 9
        self.refused(tmp_path, content, r"instances\.json: attributes: 'flying' is none of nuScenes': cycle.with_rider")

    @pytest.mark.parametrize("attributes", [ATTRIBUTES, [], "vehicle.moving", {"vehicle.moving": [6]}])
    def test_attributes_that_name_nothing(self, tmp_path: Path, attributes: Any) -> None:
        content = nuscenes_content() | {"attributes": attributes}
        message = rf"instances\.json: attributes {re.escape(str(attributes)[:30])}.* must map names to numbers, such as"
        self.refused(tmp_path, content, message)

    @pytest.mark.parametrize(
        ("key", "value", "message", "lost", "kept"),
        [
            ("dim", [0, 1.7, 4.2], "dimensions .* are not positive", ("dimensions", "amodal_centers"), ("depth",)),
            ("dim", [1.5, -1.7, 4.2], "dimensions .* are not positive", ("dimensions",), ("alpha",)),
            ("dim", [1.5, math.nan, 4.2], "dimensions .* are not positive", ("dimensions",), ("alpha",)),
            ("dim", [1.5, math.inf, 4.2], "dimensions .* are not positive", ("dimensions",), ("alpha",)),
            (
                "location",
                [1, 2, -3],
                "location .* is not in front",
                ("location", "depth", "amodal_centers"),
                ("alpha", "dimensions"),
            ),
            ("alpha", 3.3, r"alpha \[3.3\] is not in \[-pi, pi\]", (), ("alpha", "rotation_y", "location")),
            ("rotation_y", -7, r"rotation_y .* is not in", ("rotation_y",), ("alpha", "location")),
        ],
    )
    def test_impossible_boxes(self, tmp_path: Path, caplog, key: str, value: Any, message: str, lost, kept) -> None:
        with caplog.at_level(logging.WARNING):
            objects = read(tmp_path, changed(1, **{key: value})).records[0].annotations
        (report,) = (record.getMessage() for record in caplog.records)
        assert report.startswith("1 of 4 objects have an impossible value")
        assert re.search(rf"instances\.json: annotation 2: {message}", report)
        for name in lost:
            assert np.isnan(objects[name][1]).all()
        for name in kept:
            assert np.isfinite(objects[name]).all()
        assert np.isfinite(objects["boxes"]).all()


def test_frames_are_those_of_the_fakes() -> None:
    assert len(kitti_content()["images"]) == len(FRAMES)
