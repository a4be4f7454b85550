"""Which categories of a COCO file are classes, which are ignored, which are left out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lightning_centernet.data import ImageDataset, read_coco
from lightning_centernet.errors import UserError
from tests.fakes import PICTURES, pose_content, write_coco


def read(tmp_path: Path, **options) -> ImageDataset:
    return read_coco(*write_coco(tmp_path), **options)


def labels(dataset: ImageDataset) -> list[list[int]]:
    return [record.annotations["labels"].tolist() for record in dataset.records]


def ignored(dataset: ImageDataset) -> list[list[bool]]:
    return [record.annotations["ignore"].tolist() for record in dataset.records]


def test_all_by_ascending_id(tmp_path: Path) -> None:
    dataset = read(tmp_path)
    assert (dataset.classes, dataset.category_ids) == (("bird", "cat", "dog"), (3, 17, 90))
    assert (labels(dataset), ignored(dataset)) == ([[1, 2], [2], [], [0, 1]], [[False] * 2, [False], [], [False, True]])


def test_some_in_another_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        dataset = read(tmp_path, classes=["dog", "bird"])
    assert (dataset.classes, dataset.category_ids) == (("dog", "bird"), (90, 3))
    assert labels(dataset) == [[0], [0], [], [1]]
    assert "left out 2 of 5 annotations, of categories that are neither in" in caplog.text


def test_ignored_as_another_class_or_as_any(tmp_path: Path) -> None:
    dataset = read(tmp_path, ignored={"dog": "cat"})
    assert (dataset.classes, labels(dataset)) == (("bird", "cat"), [[1, 1], [1], [], [0, 1]])
    assert ignored(dataset) == [[False, True], [True], [], [False, True]]
    dataset = read(tmp_path, classes=["cat"], ignored={"dog": None})
    assert (dataset.classes, labels(dataset)) == (("cat",), [[0, -1], [-1], [], [0]])
    assert ignored(dataset) == [[False, True], [True], [], [True]]


def test_joints_are_those_of_the_classes_to_find(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path, PICTURES, pose_content())
    for classes, expected in ((["dog", "bird"], ("dog",)), (["bird"], None)):
        dataset = read_coco(file, images, classes=classes)
        assert (dataset.skeleton and dataset.skeleton.classes) == expected
        assert all(("keypoints" in record.annotations) == (expected is not None) for record in dataset.records)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"classes": ["cat", "dgo"]},
            r"data\.classes names 'dgo', which is none of bird, cat, dog. Did you mean `dog`\?",
        ),
        ({"ignored": {"cow": "cat"}}, r"data\.ignored names 'cow', which is none of bird, cat, dog"),
        ({"classes": ["cat"], "ignored": {"dog": "bird"}}, r"data\.ignored names 'bird', which is none of cat"),
        ({"classes": ["cat", "cat"]}, "name 'cat' twice"),
        ({"classes": ["cat"], "ignored": {"cat": None}}, "name 'cat' twice"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=rf"instances\.json: .*{message}"):
        read(tmp_path, **options)
