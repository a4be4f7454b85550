from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from lightning_centernet.data import read_coco
from lightning_centernet.errors import UserError
from tests.fakes import PICTURES, coco_content, write_coco


def read(tmp_path: Path, content: Any, **options: Any) -> Any:
    file, images = write_coco(tmp_path, PICTURES, content)
    return read_coco(file, images, **options)


def test_equals_the_official_reader(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path)
    dataset, official = read_coco(file, images), COCO(str(file))
    assert dataset.category_ids == tuple(sorted(official.getCatIds()))
    assert dataset.classes == tuple(entry["name"] for entry in official.loadCats(sorted(official.getCatIds())))
    assert [record.image_id for record in dataset.records] == list(official.imgs)
    for record in dataset.records:
        entries = official.loadAnns(official.getAnnIds(record.image_id))
        expected = np.array([entry["bbox"] for entry in entries], np.float32).reshape(-1, 4)
        expected[:, 2:] += expected[:, :2]
        objects = record.annotations
        np.testing.assert_array_equal(objects["boxes"], expected)
        assert [dataset.category_ids[label] for label in objects["labels"]] == [one["category_id"] for one in entries]
        assert objects["ignore"].tolist() == [bool(one["iscrowd"]) for one in entries]
        assert objects["area"].tolist() == [one["area"] for one in entries]
        assert {name: column.dtype.name for name, column in objects.items()} == {
            "boxes": "float32", "labels": "int64", "ignore": "bool", "area": "float32"
        }  # fmt: skip


def test_images_without_annotations_are_kept(tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_content())
    assert [len(record.annotations["labels"]) for record in dataset.records] == [2, 1, 0, 2]
    assert dataset.records[2].annotations["boxes"].shape == (0, 4)


def test_labels_follow_the_ascending_ids(tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_content(category_ids={"dog": 7, "bird": 0, "cat": 1000000}))
    assert (dataset.classes, dataset.category_ids) == (("bird", "dog", "cat"), (0, 7, 1000000))
    assert dataset.records[0].annotations["labels"].tolist() == [2, 1]


def test_ignore_key_of_converters(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0] |= {"ignore": 1, "iscrowd": 0}
    assert read(tmp_path, content).records[3].annotations["ignore"].tolist() == [True, True]


def test_area_falls_back_to_the_box(tmp_path: Path) -> None:
    content = coco_content()
    del content["annotations"][-1]["area"]
    assert read(tmp_path, content).records[0].annotations["area"].tolist() == [0.5 * 26 * 32, 28 * 16]


def test_sub_folders(tmp_path: Path) -> None:
    picture = PICTURES[0]._replace(stem="deep/er/pic")
    file, images = write_coco(tmp_path, [picture])
    assert read_coco(file, images)[0].file == str(images / "deep/er/pic.png")


def test_no_annotations_at_all(tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_content() | {"annotations": []}, fields=("height",))
    assert [len(record.annotations["boxes"]) for record in dataset.records] == [0, 0, 0, 0]


def test_fields_of_ones_own(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0] |= {"height": 1.5, "pair": [1, 2]}
    content["annotations"][1] |= {"height": None, "pair": [3, 4]}
    first, _, _, last = read(tmp_path, content, fields=("height", "pair")).records
    np.testing.assert_array_equal(last.annotations["height"], np.array([1.5, np.nan], np.float32))
    np.testing.assert_array_equal(last.annotations["pair"], np.array([[1, 2], [3, 4]], np.float32))
    assert first.annotations["pair"].shape == (2, 2)
    assert np.isnan(first.annotations["pair"]).all()


@pytest.mark.parametrize("value", ["tall", [1, 2, 3], float("nan")])
def test_field_that_is_no_number(tmp_path: Path, value: Any) -> None:
    content = coco_content()
    content["annotations"][-1]["height"] = 2.0
    content["annotations"][0]["height"] = 2.0
    content["annotations"][1]["height"] = value
    with pytest.raises(UserError, match=r"annotation 101: height .* is not 1 finite number"):
        read(tmp_path, content, fields=("height",))


def test_field_that_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no annotation has the field 'hieght'; their keys are area, bbox"):
        read(tmp_path, coco_content(), fields=("hieght",))
    with pytest.raises(UserError, match="'labels' is taken"):
        read(tmp_path, coco_content(), fields=("labels",))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list(tmp_path: Path, key: str) -> None:
    content = coco_content()
    del content[key]
    with pytest.raises(UserError, match=rf"instances\.json: has no list '{key}'"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("key", "name"),
    [(key, name) for key, names in (
        ("images", ("id", "file_name")),
        ("annotations", ("image_id", "category_id", "bbox")),
        ("categories", ("id", "name")),
    ) for name in names],
)  # fmt: skip
def test_missing_key(tmp_path: Path, key: str, name: str) -> None:
    content = coco_content()
    del content[key][1][name]
    with pytest.raises(UserError, match=rf"instances\.json: {key} need the keys .*{name}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "box", [[1, 2, float("nan"), 4], [float("inf"), 2, 3, 4], [1, 2, 3], None, "box", [1, 2, "x", 4]]
)
def test_box_that_is_not_four_numbers(tmp_path: Path, box: Any) -> None:
    content = coco_content()
    content["annotations"][1]["bbox"] = box
    with pytest.raises(
        UserError, match=r"instances\.json: annotation 101: bbox .* is not four finite numbers"
    ) as error:
        read(tmp_path, content)
    assert str(box) in str(error.value)


@pytest.mark.parametrize("box", [[5, 5, 0, 9], [5, 5, 9, -2], [-20, 5, 20, 9], [5, 64, 9, 9], [64.0, 5, 9, 9]])
def test_degenerate_boxes_are_left_out_and_reported_once(
    tmp_path: Path, box: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    content = coco_content()
    content["annotations"][1]["bbox"] = box  # the crowd of the last picture, 64 x 64
    with caplog.at_level(logging.WARNING):
        dataset = read(tmp_path, content)
    assert [len(record.annotations["labels"]) for record in dataset.records] == [2, 1, 0, 1]
    assert dataset.records[3].annotations["ignore"].tolist() == [False]
    (message,) = caplog.messages
    assert "left out 1 of 5 boxes" in message
    assert f"annotation 101: bbox {box}" in message
    assert len(dataset.skipped) == 1


def test_box_at_the_border_is_kept_whole(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][1]["bbox"] = [63, 63, 40, 40]
    assert read(tmp_path, content).records[3].annotations["boxes"][1].tolist() == [63, 63, 103, 103]


@pytest.mark.parametrize(
    ("key", "value"), [("category_id", 4), ("image_id", 55), ("category_id", [3]), ("image_id", "1")]
)
def test_undeclared_id(tmp_path: Path, key: str, value: Any) -> None:
    content = coco_content()
    content["annotations"][2][key] = value
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    assert f"instances.json: annotation 102: {key} {value!r} is not declared" in str(error.value)


@pytest.mark.parametrize(
    ("key", "kind"), [("images", "image"), ("annotations", "annotation"), ("categories", "category")]
)
def test_repeated_id(tmp_path: Path, key: str, kind: str) -> None:
    content = coco_content()
    content[key][1]["id"] = content[key][0]["id"]
    with pytest.raises(UserError, match=rf"{kind} id {content[key][0]['id']} stands twice"):
        read(tmp_path, content)


def test_missing_picture_counts_the_others(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path)
    for name in ("pic_b.png", "pic_c.png"):
        (images / name).unlink()
    with pytest.raises(UserError, match=r"pic_b\.png: no such picture file, .*\(and 1 more like this"):
        read_coco(file, images)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[1, 2]", "has no list 'images'"), (None, "no such")]
)
def test_file_that_is_no_coco(tmp_path: Path, text: str | None, message: str) -> None:
    file, images = write_coco(tmp_path)
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(UserError, match=rf"instances\.json: {message}"):
        read_coco(file, images)


def test_missing_folder(tmp_path: Path) -> None:
    file, _ = write_coco(tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder of pictures"):
        read_coco(file, tmp_path / "nowhere")


@pytest.mark.parametrize("key", ["images", "categories"])
@pytest.mark.parametrize("value", ["1", 1.5, None, [1]])
def test_id_that_is_no_integer(tmp_path: Path, key: str, value: Any) -> None:
    content = coco_content()
    content[key][1]["id"] = value
    with pytest.raises(UserError, match=rf"instances\.json: the ids of {key} must be whole numbers"):
        read(tmp_path, content)


def test_width_that_is_no_number(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0]["width"] = None
    with pytest.raises(UserError, match=r"instances\.json: an image's file_name, width or height is wrong"):
        read(tmp_path, content)


def test_size_that_is_left_out_is_the_pictures(tmp_path: Path) -> None:
    content = coco_content()
    for entry in content["images"]:
        del entry["width"]
    whole, less = read(tmp_path / "whole", coco_content()), read(tmp_path / "less", content)
    sizes = [(record.width, record.height) for record in less.records]
    assert sizes == [(record.width, record.height) for record in whole.records]
    (tmp_path / "less/images/pic_b.png").unlink()
    with pytest.raises(UserError, match=r"pic_b\.png: no such picture file"):
        read_coco(tmp_path / "less/instances.json", tmp_path / "less/images")
