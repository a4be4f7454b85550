"""Data sets, their transforms and loaders."""

from __future__ import annotations

from lightning_centernet.data.augmentation import Augmentation
from lightning_centernet.data.coco import read_coco
from lightning_centernet.data.factories import coco_data, kitti_data, voc_data
from lightning_centernet.data.images import ImageDataset, read_image
from lightning_centernet.data.inspection import Report, inspect_data, inspect_dataset
from lightning_centernet.data.kitti import read_kitti
from lightning_centernet.data.module import DetectionData
from lightning_centernet.data.sample import Dataset, Record, Sample
from lightning_centernet.data.several import SeveralData, several_data
from lightning_centernet.data.street import Street, street_data
from lightning_centernet.data.transforms import Transform, letterbox
from lightning_centernet.data.voc import read_voc
from lightning_centernet.data.warping import align_crop, warp

__all__ = [
    "Augmentation",
    "Dataset",
    "DetectionData",
    "ImageDataset",
    "Record",
    "Report",
    "Sample",
    "SeveralData",
    "Street",
    "Transform",
    "align_crop",
    "coco_data",
    "inspect_data",
    "inspect_dataset",
    "kitti_data",
    "letterbox",
    "read_coco",
    "read_image",
    "read_kitti",
    "read_voc",
    "several_data",
    "street_data",
    "voc_data",
    "warp",
]
