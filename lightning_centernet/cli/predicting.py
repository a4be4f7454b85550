"""`predict`: detections of pictures, as result files and as drawings."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning import Trainer
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track

from lightning_centernet.cli.build import build_trainer, use_views
from lightning_centernet.cli.cameras import Camera, find_cameras
from lightning_centernet.cli.checkpoint import load_model, needed_checkpoint
from lightning_centernet.cli.report import show_lines
from lightning_centernet.cli.source import UNREADABLE, find_images, picture_loader
from lightning_centernet.data import Transform, read_image
from lightning_centernet.draw import Picture, Scene, side_by_side
from lightning_centernet.errors import UserError
from lightning_centernet.module import CenterNet
from lightning_centernet.results import write_coco_results
from lightning_centernet.results_kitti import write_kitti_results
from lightning_centernet.types import Tensors

_logger = logging.getLogger(__name__)


def predict(config: DictConfig) -> None:
    """Detect objects in all pictures of `source`.

    Raises:
        UserError: no checkpoint, one whose model gives no boxes, no pictures, none that can be read, or a camera that
            cannot be.
    """
    checkpoint, files = needed_checkpoint(config), find_images(config.source)
    model = load_model(config, checkpoint)
    if "boxes" not in model.fields:
        raise UserError(
            f"ckpt_path={checkpoint}: its heads {', '.join(model.heads)} give no boxes: train with wh or ltrb"
        )
    camera = _needed_camera(config, model, files)
    transform = Transform(model.input_size, view_sizes=use_views(config, model, model.input_size))
    loader = picture_loader(files, transform, config.data.batch_size, config.data.num_workers, camera)
    batches: list[list[Tensors]] = _quiet_trainer(config).predict(model, loader) or []
    found = _readable({int(image["image_id"]): image for batch in batches for image in batch}, files)
    if not found:
        raise UserError(f"source={config.source}: none of its images can be read")
    folder = Path(config.output_dir)
    write_coco_results(folder / "predictions.json", found.values(), model.category_ids)
    _write_listing(folder / "images.json", files, found, model)
    lines = {
        "detections": f"{folder / 'predictions.json'} (COCO results)",
        "image ids": f"{folder / 'images.json'} (ids, file names, categories)",
    }
    if camera:
        _write_boxes3d(folder / "kitti", files, found, model)
        lines["3D boxes"] = f"{folder / 'kitti'}/ (KITTI's result files)"
    best = {number: _above(image, config.threshold) for number, image in found.items()}
    _draw(folder / "drawings", files, best, model, camera)
    drawn = sum(len(objects["scores"]) for objects in best.values())
    lines["drawings"] = f"{folder / 'drawings'}/ ({drawn} objects with a score of at least {config.threshold})"
    show_lines(lines)


def finds_boxes3d(model: CenterNet) -> bool:
    """Tell if a model finds 3D boxes, where the camera is known."""
    return {"depth", "dimensions", "alpha"} <= model.fields


def _needed_camera(config: DictConfig, model: CenterNet, files: Sequence[Path]) -> Camera | None:
    """Find the cameras of the pictures, if the model finds 3D boxes."""
    camera = find_cameras(config.calibration, config.focal_length, files)
    if finds_boxes3d(model):
        if camera is None:
            _logger.warning(
                "3D boxes need the camera: give calibration=<KITTI's file, or a folder of them> or "
                "focal_length=<pixels>; only 2D boxes are drawn and written"
            )
        return camera
    if camera is not None:
        _logger.warning("the heads %s give no 3D boxes: the camera is not used", ", ".join(model.heads))
    return None


def _quiet_trainer(config: DictConfig) -> Trainer:
    """Build a trainer that keeps no files, of one process: of several each would see a part of the pictures.

    Its precision is the user's own, for the config's is that of training on some data set.
    """
    config = config.copy()
    if not any(re.match(r"\+*trainer\.precision=", word) for word in HydraConfig.get().overrides.task):
        config.trainer.precision = None
    config.trainer.update({"devices": 1, "num_nodes": 1, "strategy": "auto"})
    config.callbacks = {name: value for name, value in config.callbacks.items() if name == "progress"}
    config.logger = {}
    return build_trainer(config)


def _readable(found: Mapping[int, Tensors], files: Sequence[Path]) -> dict[int, Tensors]:
    """Leave out what stands for pictures that cannot be read, and name them."""
    unreadable = [str(file) for number, file in enumerate(files) if number not in found]
    if unreadable:
        named = ", ".join(unreadable)
        _logger.warning("%d of %d images cannot be read and are left out: %s", len(unreadable), len(files), named)
    return {number: image for number, image in found.items() if number != UNREADABLE}


def _write_listing(file: Path, files: Sequence[Path], found: Mapping[int, Tensors], model: CenterNet) -> None:
    listing = {
        "images": [{"id": number, "file_name": str(files[number])} for number in found],
        "categories": [
            {"id": number, "name": name} for number, name in zip(model.category_ids, model.classes, strict=True)
        ],
    }
    file.write_text(json.dumps(listing, indent=1), encoding="utf-8")


def _write_boxes3d(folder: Path, files: Sequence[Path], found: Mapping[int, Tensors], model: CenterNet) -> None:
    """Write KITTI's result files, named as the pictures, as its tools want them; numbered where names repeat."""
    stems = Counter(files[number].stem for number in found)
    names = (files[number].stem if stems[files[number].stem] == 1 else _numbered(number, files) for number in found)
    write_kitti_results(folder, found.values(), model.classes, names)


def _numbered(number: int, files: Sequence[Path]) -> str:
    return f"{number:06d}_{files[number].stem}"


def _above(image: Tensors, threshold: float) -> Tensors:
    kept = image["scores"] >= threshold
    return {name: values[kept].cpu() for name, values in image.items() if name != "image_id"}


def _draw(
    folder: Path, files: Sequence[Path], found: Mapping[int, Tensors], model: CenterNet, camera: Camera | None
) -> None:
    folder.mkdir(exist_ok=True)
    for number, objects in track(found.items(), "drawing"):
        picture = read_image(files[number])
        calibration = camera(number, picture.shape[:2]) if camera else None
        scene = Scene(picture, model.classes, model.skeleton, calibration)
        Image.fromarray(_drawing(scene, objects)).save(folder / f"{_numbered(number, files)}.png")


def _drawing(scene: Scene, objects: Tensors) -> Picture:
    picture = scene.draw(objects)
    if not scene.has_depth(objects):
        return picture
    return side_by_side({"Predicted": picture, "From above": scene.draw_above(objects)})
