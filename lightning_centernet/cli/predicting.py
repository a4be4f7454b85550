"""`predict`: detections of pictures, as COCO results and as drawings."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning import Trainer
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track

from lightning_centernet.cli.build import build_trainer
from lightning_centernet.cli.checkpoint import load_model, needed_checkpoint
from lightning_centernet.cli.report import show_lines
from lightning_centernet.cli.source import UNREADABLE, find_images, picture_loader
from lightning_centernet.data import read_image
from lightning_centernet.draw import draw_boxes
from lightning_centernet.errors import UserError
from lightning_centernet.module import CenterNet
from lightning_centernet.results import write_coco_results
from lightning_centernet.types import Tensors

_logger = logging.getLogger(__name__)


def predict(config: DictConfig) -> None:
    """Detect objects in all pictures of `source`.

    Raises:
        UserError: no checkpoint, one whose model gives no boxes, no pictures, or none that can be read.
    """
    checkpoint, files = needed_checkpoint(config), find_images(config.source)
    model = load_model(config, checkpoint)
    if not any("boxes" in head.provides for head in model.heads.values()):
        raise UserError(
            f"ckpt_path={checkpoint}: its heads {', '.join(model.heads)} give no boxes: train with wh or ltrb"
        )
    loader = picture_loader(files, model.input_size, config.data.batch_size, config.data.num_workers)
    batches: list[list[Tensors]] = _quiet_trainer(config).predict(model, loader) or []
    found = {int(image["image_id"]): image for batch in batches for image in batch}
    found.pop(UNREADABLE, None)
    unreadable = [str(file) for number, file in enumerate(files) if number not in found]
    if unreadable:
        named = ", ".join(unreadable)
        _logger.warning("%d of %d images cannot be read and are left out: %s", len(unreadable), len(files), named)
    if not found:
        raise UserError(f"source={config.source}: none of its images can be read")
    _write(Path(config.output_dir), files, found, model, config.threshold)


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


def _write(
    folder: Path, files: Sequence[Path], found: Mapping[int, Tensors], model: CenterNet, threshold: float
) -> None:
    write_coco_results(folder / "predictions.json", found.values(), model.category_ids)
    listing = {
        "images": [{"id": number, "file_name": str(files[number])} for number in found],
        "categories": [
            {"id": number, "name": name} for number, name in zip(model.category_ids, model.classes, strict=True)
        ],
    }
    (folder / "images.json").write_text(json.dumps(listing, indent=1), encoding="utf-8")
    (folder / "drawings").mkdir(exist_ok=True)
    drawn = 0
    for number, image in track(found.items(), "drawing"):
        kept = {name: image[name][image["scores"] >= threshold].cpu() for name in ("boxes", "labels", "scores")}
        picture = draw_boxes(read_image(files[number]), kept["boxes"], kept["labels"], model.classes, kept["scores"])
        Image.fromarray(picture).save(folder / "drawings" / f"{number:06d}_{files[number].stem}.png")
        drawn += len(kept["scores"])
    show_lines(
        {
            "detections": f"{folder / 'predictions.json'} (COCO results)",
            "image ids": f"{folder / 'images.json'} (ids, file names, categories)",
            "drawings": f"{folder / 'drawings'}/ ({drawn} objects with a score of at least {threshold})",
        }
    )
