"""`inspect`: look at a data set before training on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from lightning_centernet import encode, standard_heads
from lightning_centernet.cli.build import build_data, network_parts
from lightning_centernet.cli.report import show_lines
from lightning_centernet.data import Dataset, DetectionData, Transform
from lightning_centernet.data.collate import collate
from lightning_centernet.data.inspection import inspect_data
from lightning_centernet.draw import Picture, Scene, side_by_side
from lightning_centernet.errors import UserError
from lightning_centernet.heads import Heads
from lightning_centernet.skeleton import Skeleton
from lightning_centernet.types import Batch, Grid

_STRIDE = 4  # of the output grid, as of every standard network here
_SAMPLES = 8  # drawn of each split
_HEATMAPS = {"heat map": "hm", "heat map of joints": "hm_hp"}


def inspect(config: DictConfig) -> None:
    """Check the data, and draw some of it with its encoded heat maps.

    Raises:
        UserError: after all that, if something is wrong that training would stop at.
    """
    data, console = build_data(config), Console()
    reports = inspect_data(data, console)
    for report in reports:
        report.print(console)
    folder = Path(config.output_dir) / "drawings"
    for report in reports:
        if report.pictures:
            _draw_samples(config, data, report.name, folder / report.name)
    show_lines({"drawings": f"{folder}/ (annotations, and the heat maps encoded from them)"})
    problems = sum(len(report.problems) for report in reports)
    if problems:
        raise UserError(f"{problems} problems: correct them before training, or see data.on_error=skip")


def _draw_samples(config: DictConfig, data: DetectionData, split: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = data.dataset(split)
    skeleton: Skeleton | None = getattr(dataset, "skeleton", None)
    joints = len(skeleton) if skeleton else None
    heads = standard_heads(network_parts(config, "heads")["heads"], classes=len(dataset.classes), joints=joints)
    for batch in _samples(dataset, Transform(config.data.input_size), config.data.max_objects):
        picture = _drawing(batch, heads, dataset.classes, skeleton)
        Image.fromarray(picture).save(folder / f"{int(batch['image_id']):06d}_{Path(batch['file'][0]).stem}.png")


def _samples(dataset: Dataset, transform: Transform, max_objects: int) -> Iterator[Batch]:
    """Yield batches of one image, spread evenly over the data set."""
    for index in dict.fromkeys(np.linspace(0, len(dataset) - 1, _SAMPLES).round().astype(int).tolist()):
        with suppress(UserError):  # it is among the problems already
            yield collate([transform(dataset[index])], max_objects)


def _drawing(batch: Batch, heads: Heads, classes: tuple[str, ...], skeleton: Skeleton | None) -> Picture:
    image = batch["image"][0].permute(1, 2, 0).numpy()
    grid = Grid(image.shape[0] // _STRIDE, image.shape[1] // _STRIDE, _STRIDE)
    scene = Scene(image, classes, skeleton, batch["calibration"][0] if "calibration" in batch else None)
    objects = {name: column[0][batch["annotations"]["mask"][0]] for name, column in batch["annotations"].items()}
    objects["labels"] = objects["labels"].masked_fill(objects["ignore"], -1)
    panels = {"annotations": replace(scene, calibration=None).draw(objects)}
    if scene.has_depth(objects):
        panels |= {"3D boxes": scene.draw(objects), "from above": scene.draw_above(objects)}
    cameras = {name: batch[name] for name in ("calibration", "scale") if name in batch}
    targets = encode(batch["annotations"] | cameras, heads, grid)
    for title, name in _HEATMAPS.items():
        if name in targets:
            panels[title] = scene.draw_heatmap(targets[name][0])
    return side_by_side(panels)
