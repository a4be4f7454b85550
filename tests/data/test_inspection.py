from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lightning_centernet.data import DetectionData, coco_data, inspect_data, inspect_dataset, read_coco, voc_data
from lightning_centernet.data.problems import collect_problems, complain
from lightning_centernet.data.sample import Sample
from lightning_centernet.errors import UserError
from tests.fakes import PICTURES, coco_content, fake_pictures, write_coco, write_voc

SMALL: dict[str, Any] = {"input_size": (32, 48), "batch_size": 2, "num_workers": 0}


def coco(folder: Path, content: dict | None = None) -> DetectionData:
    file, images = write_coco(folder, PICTURES, content)
    return DetectionData(lambda: read_coco(file, images), **SMALL)


def test_counts_of_a_sound_data_set(tmp_path: Path) -> None:
    (report,) = inspect_data(coco(tmp_path))
    assert (report.name, report.pictures, report.empty) == ("train", 4, 1)
    assert dict(zip(report.classes, report.objects, strict=True)) == {"bird": 1, "cat": 1, "dog": 2}
    assert dict(zip(report.classes, report.ignored, strict=True)) == {"bird": 0, "cat": 1, "dog": 0}
    assert sorted(report.areas.tolist()) == [224, 250, 300, 416, 1600]  # half of the boxes' areas, as the file says
    assert report.problems == []
    assert len(report.notes) == 1
    assert "1 boxes reach beyond their pictures" in report.notes[0]
    assert "pic_d.png" in report.notes[0]


def test_all_problems_are_collected(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0]["category_id"] = 55
    content["annotations"][1]["bbox"] = [1, 2, float("nan"), 4]
    content["annotations"][2]["bbox"] = [1, 2, 0, 4]
    content["annotations"].append(content["annotations"][3] | {"image_id": 99})
    content["images"][0]["width"] = 60
    content["images"].append(content["images"][1] | {"file_name": "other.png"})
    del content["annotations"][4]["bbox"]
    file, images = write_coco(tmp_path, PICTURES, content)
    (images / "pic_c.png").unlink()
    (images / "pic_d.png").write_bytes((images / "pic_d.png").read_bytes()[:2000])
    (report,) = inspect_data(DetectionData(lambda: read_coco(file, images), **SMALL))
    for expected in (
        "category_id 55 is not declared",
        "annotation 101: bbox [1, 2, nan, 4] is not four finite numbers",
        "annotation id 103 stands twice",
        "image_id 99 is not declared",
        "pic_a.png: is 64x48, but annotated as 60x48",
        "image id 2 stands twice",
        "annotations need the keys image_id, category_id, bbox",
        "pic_c.png: no such picture file",
        "pic_d.png: cannot be read as a picture",
    ):
        assert sum(expected in problem for problem in report.problems) == 1, expected
    assert len(report.problems) == 9
    assert (report.pictures, report.objects.tolist()) == (1, [0, 0, 0])
    assert [note for note in report.notes if "annotation 102: bbox [1, 2, 0, 4]" in note]


def test_problems_of_a_voc_folder(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    (root / "Annotations/pic_a.xml").write_text("<annotation>")
    (root / "Annotations/pic_b.xml").unlink()
    train, val, _ = inspect_data(voc_data(root, test_split="tset", **SMALL))
    assert [text for text in train.problems if "pic_a.xml: is not XML" in text]
    assert [text for text in train.problems if "pic_b.xml: no such annotation" in text]
    assert (len(train.problems), train.pictures, val.pictures) == (3, 1, 1)
    assert "no objects" in train.problems[-1]


def test_data_set_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    reports = inspect_data(voc_data(write_voc(tmp_path), test_split="tset", **SMALL))
    assert [report.pictures for report in reports] == [3, 1, 0]
    assert "tset.txt: no such split" in reports[2].problems[0]


def test_pictures_in_two_splits_and_twice_in_one(tmp_path: Path) -> None:
    pictures = fake_pictures(4)
    train, images = write_coco(tmp_path / "train", pictures[:3])
    val, val_images = write_coco(tmp_path / "val", pictures[2:])
    Image.open(images / "many_000.png").save(images / "many_001.png")
    first, second = inspect_data(coco_data(train, images, val_annotations=val, val_images=val_images, **SMALL))
    assert first.problems == []
    assert [note for note in first.notes if "same picture twice" in note and "many_001.png" in note]
    (problem,) = second.problems
    assert "the same picture in train and val" in problem
    assert problem.count("many_002.png") == 2


def test_more_objects_than_slots(tmp_path: Path) -> None:
    report = inspect_dataset(read_coco(*write_coco(tmp_path)), max_objects=1)
    assert [note for note in report.notes if "2 pictures hold more than max_objects=1" in note]


def test_empty_data_set(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path, (), coco_content(()))
    images.mkdir()
    (report,) = inspect_data(DetectionData(lambda: read_coco(file, images), **SMALL))
    assert report.pictures == 0
    assert "the train data set is empty" in report.problems
    report.print(Console(file=io.StringIO()))


def test_printing(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0]["bbox"] = [1, 2, 0, 4]
    content["images"][0]["width"] = 60
    content["categories"][0]["name"] = "dog [big]"
    console = Console(file=io.StringIO(), width=200)
    (report,) = inspect_data(coco(tmp_path, content), console)
    report.print(console)
    printed = console.file.getvalue()
    for expected in (
        "3 pictures",
        "1 of them without",
        "dog [big]",
        "medium",
        "note left out",
        "[1, 2, 0, 4]",
        "problem",
    ):
        assert expected in printed
    assert np.isclose(float(report.areas.max()), 1600)


def test_complaints_raise_unless_they_are_collected() -> None:
    complain([])
    with pytest.raises(UserError, match=r"^one \(and 2 more like this"):
        complain(["one", "two", "three"])
    with collect_problems() as problems:
        complain(["one", "two"])
        complain(["three"])
        raise UserError("the end")
    assert problems == ["one", "two", "three", "the end"]
    with pytest.raises(UserError, match=r"^one$"):
        complain(["one"])


class Bare:
    """A user's data set: no areas, and a region where every class is ignored."""

    classes, category_ids = ("thing",), (1,)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        objects = {
            "boxes": np.array([[1, 2, 11, 7], [0, 0, 5, 5]], np.float32),
            "labels": np.array([0, -1]),
            "ignore": np.array([False, True]),
        }
        return Sample(np.zeros((20, 30, 3), np.uint8), objects, index, "bare")


def test_bare_data_set() -> None:
    report = inspect_dataset(Bare())
    assert report.areas.tolist() == [50, 25]
    assert report.objects.tolist() == [1]
    assert report.ignored.tolist() == [0]
