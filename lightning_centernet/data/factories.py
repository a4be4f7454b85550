"""A data module for each format, from flat keywords: what the configurations name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from lightning_centernet.data.coco import read_coco
from lightning_centernet.data.coco_boxes3d import AlphaOrigin
from lightning_centernet.data.images import ImageDataset
from lightning_centernet.data.kitti import CLASSES, read_kitti
from lightning_centernet.data.module import DetectionData, Source
from lightning_centernet.data.voc import read_voc, voc_classes
from lightning_centernet.errors import UserError

_logger = logging.getLogger(__name__)


def voc_data(
    root: str | Path,
    *,
    train_split: str | None = "train",
    val_split: str | None = "val",
    test_split: str | None = None,
    classes: Sequence[str] | None = None,
    first_pixel: int = 0,
    **common: Any,
) -> DetectionData:
    """Feed from a Pascal VOC folder.

    Args:
        root: the folder that holds ImageSets, Annotations and JPEGImages.
        train_split: the name of a list in ImageSets/Main; None for none.
        val_split: the same.
        test_split: the same; left out, `test` if there is such a list.
        classes: names by label; left out, the sorted names found in all splits.
        first_pixel: 1 where boxes are indices of pixels counted from 1; see `read_voc`.
        common: the keywords of `DetectionData`.
    """
    if test_split is None and (Path(root) / "ImageSets" / "Main" / "test.txt").is_file():
        test_split = "test"
    names = cache(lambda: voc_classes(root) if classes is None else tuple(classes))

    def source(split: str | None) -> Source | None:
        return None if split is None else lambda: read_voc(root, split, names(), first_pixel)

    return DetectionData(source(train_split), source(val_split), source(test_split), **common)


def coco_data(
    train_annotations: str | Path | None = None,
    train_images: str | Path | None = None,
    *,
    val_annotations: str | Path | None = None,
    val_images: str | Path | None = None,
    test_annotations: str | Path | None = None,
    test_images: str | Path | None = None,
    val_fraction: float = 0.1,
    fields: Sequence[str] = (),
    keypoints: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    ignored: Mapping[str, str | None] | None = None,
    alpha: AlphaOrigin = "projected",
    **common: Any,
) -> DetectionData:
    """Feed from COCO JSON files.

    Args:
        train_annotations: the JSON file; None for none.
        train_images: the folder its `file_name`s count from.
        val_annotations: the same for validation; None holds out `val_fraction` of the training pictures.
        val_images: left out, `train_images`.
        test_annotations: the same for the test.
        test_images: left out, `train_images`.
        val_fraction: used only without `val_annotations`.
        fields: further keys of an annotation, for heads of one's own.
        keypoints: what the joints are, where the file does not say it; see `read_coco`.
        classes: categories to find, by label; None for all.
        ignored: categories to ignore as another class, or as any; see `read_coco`.
        alpha: of 3D boxes; see `read_coco`.
        common: the keywords of `DetectionData`.
    """
    read = partial(read_coco, fields=fields, keypoints=keypoints, classes=classes, ignored=ignored, alpha=alpha)

    def source(annotations: str | Path | None, images: str | Path | None) -> Callable[[], ImageDataset] | None:
        if annotations is None:
            return None
        folder = images or train_images
        if folder is None:
            raise UserError(f"{annotations}: the folder of its pictures is not given: set train_images")
        return cache(lambda: read(annotations, folder))

    full, val = source(train_annotations, train_images), source(val_annotations, val_images)
    test = source(test_annotations, test_images)
    if full is None or val is not None:
        return DetectionData(full, val, test, **common)
    return DetectionData(*_hold_out(full, val_fraction, common.get("seed", 0)), test, **common)


def kitti_data(
    root: str | Path,
    *,
    train_split: str | None = "train",
    val_split: str | None = "val",
    test_split: str | None = None,
    classes: Sequence[str] = CLASSES,
    **common: Any,
) -> DetectionData:
    """Feed from KITTI's object benchmark.

    Args:
        root: the folder that holds `training` and ImageSets.
        train_split: the name of a list in ImageSets, `all` for all frames in `training`, None for none.
        val_split: the same.
        test_split: the same.
        classes: types to find, by label.
        common: the keywords of `DetectionData`.
    """

    def source(split: str | None) -> Source | None:
        return None if split is None else lambda: read_kitti(root, split, classes)

    return DetectionData(source(train_split), source(val_split), source(test_split), **common)


def _hold_out(source: Callable[[], ImageDataset], fraction: float, seed: int) -> tuple[Source, Source]:
    @cache
    def parts() -> tuple[ImageDataset, ImageDataset]:
        train, val = source().split(fraction, seed)
        _logger.info("no validation file: %d pictures train, %d are held out (val_fraction)", len(train), len(val))
        return train, val

    return lambda: parts()[0], lambda: parts()[1]
