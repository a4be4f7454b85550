from __future__ import annotations

import logging
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from lightning_centernet.data import read_voc, voc_data
from lightning_centernet.errors import UserError
from tests.fakes import CLASSES, PICTURES, FakeObject, write_voc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOC")


def edit(root: Path, stem: str, path: str, text: str | None) -> None:
    """Set the first element of a path in an annotation, or take it out."""
    file = root / f"Annotations/{stem}.xml"
    tree = ET.parse(file)
    element = tree.find(path)
    assert element is not None
    if text is None:
        parent = tree.find(f"{path}/..")
        assert parent is not None
        parent.remove(element)
    element.text = text
    tree.write(file)


def test_objects_are_as_written(root: Path) -> None:
    dataset = read_voc(root, "val")
    objects = dataset.records[0].annotations
    assert (dataset.classes, dataset.category_ids) == (CLASSES, (1, 2, 3))
    assert objects["boxes"].tolist() == [[-5, 10, 20, 30], [30, 30, 60, 50]]
    assert objects["labels"].tolist() == [0, 1]
    assert objects["ignore"].tolist() == [False, True]
    assert objects["area"].tolist() == [500, 600]


def test_equals_torchvision(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "VOCdevkit/VOC2012")
    for file in (root / "JPEGImages").iterdir():
        file.rename(file.with_suffix(".jpg"))  # the only one that torchvision looks for
    dataset, official = read_voc(root, "train"), VOCDetection(str(tmp_path), "2012", "train")
    assert len(dataset) == len(official) == 3
    for record, (_, target), file in zip(dataset.records, official, official.images, strict=True):
        annotation = target["annotation"]
        sides = [
            [float(one["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")] for one in annotation["object"]
        ]
        assert str(record.file) == file
        assert (record.width, record.height) == tuple(int(annotation["size"][key]) for key in ("width", "height"))
        assert record.annotations["boxes"].tolist() == sides
        assert [dataset.classes[label] for label in record.annotations["labels"]] == [
            one["name"] for one in annotation["object"]
        ]


def test_pixels_counted_from_one(root: Path) -> None:
    assert read_voc(root, "train", first_pixel=1).records[0].annotations["boxes"][0].tolist() == [3, 7, 30, 40]


def test_classes_are_those_of_all_splits(root: Path) -> None:
    assert [read_voc(root, split).classes for split in ("train", "val", "test")] == [CLASSES] * 3


def test_given_classes_keep_their_order(root: Path) -> None:
    dataset = read_voc(root, "train", classes=["dog", "cat", "bird", "unicorn"])
    assert dataset.classes == ("dog", "cat", "bird", "unicorn")
    assert dataset.records[0].annotations["labels"].tolist() == [1, 0]


def test_class_that_was_not_given(root: Path) -> None:
    with pytest.raises(UserError, match=r"pic_a\.xml: object 2 \(dog\): its class is not one of cat, bird"):
        read_voc(root, "train", classes=["cat", "bird"])


def test_lists_of_one_class(root: Path) -> None:
    (root / "ImageSets/Main/cat_train.txt").write_text("\ufeffpic_a  1\npic_b -1\n\npic_c  0\n")
    dataset = read_voc(root, "cat_train")
    assert [record.file.stem for record in dataset.records] == ["pic_a", "pic_b", "pic_c"]


def test_names_with_spaces_and_digits(tmp_path: Path) -> None:
    picture = PICTURES[0]._replace(stem="photo 1")
    assert read_voc(write_voc(tmp_path, {"train": [picture]}), "train")[0].file.endswith("photo 1.png")


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "bmp"])
def test_picture_is_found_by_its_stem(root: Path, suffix: str) -> None:
    file = root / "JPEGImages/pic_d.png"
    Image.open(file).save(root / f"JPEGImages/pic_d.{suffix}")
    file.unlink()
    assert read_voc(root, "val")[0].file.endswith(f"pic_d.{suffix}")


def test_picture_is_found_by_its_file_name(root: Path) -> None:
    (root / "JPEGImages/pic_d.png").rename(root / "JPEGImages/other.png")
    edit(root, "pic_d", "filename", "other.png")
    assert read_voc(root, "val")[0].file.endswith("other.png")


def test_missing_picture(root: Path) -> None:
    (root / "JPEGImages/pic_d.png").unlink()
    with pytest.raises(UserError, match=r"pic_d\.xml: no picture pic_d\.jpg.*or pic_d\.png in JPEGImages"):
        read_voc(root, "val")


@pytest.mark.parametrize("text", [None, "0"])
def test_size_left_out_is_read_from_the_picture(root: Path, text: str | None) -> None:
    edit(root, "pic_d", "size/width", text)
    assert (read_voc(root, "val").records[0].width, read_voc(root, "val").records[0].height) == (64, 64)


def test_size_left_out_of_a_broken_picture(root: Path) -> None:
    edit(root, "pic_d", "size/width", "0")
    (root / "JPEGImages/pic_d.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"pic_d\.png: cannot be read as a picture"):
        read_voc(root, "val")


def test_degenerate_box_is_left_out_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flat = PICTURES[0]._replace(objects=(FakeObject("cat", (9, 8, 9, 40)), *PICTURES[0].objects))
    root = write_voc(tmp_path, {"train": [flat, PICTURES[1]]})
    with caplog.at_level(logging.WARNING):
        dataset = read_voc(root, "train")
    assert [len(record.annotations["boxes"]) for record in dataset.records] == [2, 1]
    (message,) = caplog.messages
    assert "left out 1 of 4 boxes" in message
    assert "pic_a.xml: object 1 (cat): bndbox xmin=9 ymin=8 xmax=9 ymax=40" in message


@pytest.mark.parametrize("text", ["nan", "inf", "", "left", None])
def test_side_that_is_no_number(root: Path, text: str | None) -> None:
    edit(root, "pic_a", "object/bndbox/xmax", text)
    with pytest.raises(UserError, match=r"pic_a\.xml: object 1 \(cat\): bndbox .*xmax=.* is not four finite numbers"):
        read_voc(root, "train")


def test_missing_bndbox(root: Path) -> None:
    edit(root, "pic_a", "object/bndbox", None)
    with pytest.raises(UserError, match=r"pic_a\.xml: object 1 \(cat\): has no bndbox"):
        read_voc(root, "train")


def test_broken_and_missing_annotation(root: Path) -> None:
    (root / "Annotations/pic_a.xml").write_text("<annotation><size>")
    with pytest.raises(UserError, match=r"pic_a\.xml: is not XML"):
        read_voc(root, "train")
    (root / "Annotations/pic_a.xml").unlink()
    with pytest.raises(UserError, match=r"pic_a\.xml: no such annotation, but a split lists 'pic_a'"):
        read_voc(root, "train")


def test_missing_split_names_those_there_are(root: Path) -> None:
    with pytest.raises(UserError, match=r"trainval\.txt: no such split; those there are: test, train, val"):
        read_voc(root, "trainval")


def test_folder_that_is_no_voc(root: Path) -> None:
    with pytest.raises(UserError, match=r"no folder ImageSets/Main in it .found: VOC"):
        read_voc(root.parent, "train")
    with pytest.raises(UserError, match="no such folder"):
        read_voc(root / "nowhere", "train")


def test_pixels_of_an_object(root: Path) -> None:
    sample = read_voc(root, "train")[0]
    x1, y1, x2, y2 = sample.annotations["boxes"][1].astype(int)
    assert np.unique(sample.image[y1:y2, x1:x2].reshape(-1, 3), axis=0).tolist() == [[250, 40, 10]]


def test_test_list_is_optional(root: Path) -> None:
    (root / "ImageSets/Main/test.txt").write_text((root / "ImageSets/Main/train.txt").read_text())
    assert "test" in voc_data(root).sources
    (root / "ImageSets/Main/test.txt").unlink()
    assert set(voc_data(root).sources) == {"train", "val"}


def test_empty_list_is_named(root: Path) -> None:
    (root / "ImageSets/Main/train.txt").write_text("\n")
    with pytest.raises(UserError, match=r"train\.txt: lists no picture"):
        read_voc(root, "train")
