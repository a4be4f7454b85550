"""Result files written while a model is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_centernet.errors import UserError
from lightning_centernet.metrics.states import on_host
from lightning_centernet.results import image_number, write_coco_results
from lightning_centernet.results_kitti import write_kitti_results
from lightning_centernet.types import Batch, Tensors


class CocoResults(Callback):
    """Write what is detected in validation and test as COCO's result files, one for each of its evaluations.

    These are `<directory>/bbox.json`, and of poses `<directory>/keypoints.json`. A later epoch overwrites them; of
    several processes the first writes what all have found.

    Args:
        directory: made if missing.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.found: dict[int, Tensors] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make sure that there will be something to write.

        Raises:
            UserError: the model gives neither boxes nor joints.
        """
        _require(pl_module, "boxes", "keypoints")

    def on_validation_epoch_start(self, *_: object) -> None:
        """Forget the images of the last epoch."""
        self.found = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Keep what is found in the images of a batch."""
        self.found |= {image_number(image): image for image in _copied(outputs["images"])}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        images = _of_all_processes(self.found, trainer).values()
        if trainer.sanity_checking or not trainer.is_global_zero or not images:
            return
        for kind, field in (("bbox", "boxes"), ("keypoints", "keypoints")):
            if all(field in image for image in images):
                write_coco_results(self.directory / f"{kind}.json", images, pl_module.category_ids, kind)  # type: ignore[arg-type]  # CenterNet's

    def on_test_epoch_start(self, *_: object) -> None:
        """Forget the images of another test."""
        self.found = {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Keep what is found in the images of a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        self.on_validation_epoch_end(trainer, pl_module)


def _require(module: Any, *fields: str) -> None:
    if "hm" not in module.heads or not module.fields & set(fields):
        raise UserError(
            f"result files need {' or '.join(fields)}, but the model has only the heads {', '.join(module.heads)}: add "
            f"hm and one that gives them, such as wh, or leave these files out"
        )


def _copied(images: Sequence[Tensors]) -> list[Tensors]:
    """Copy the images of a batch to the host, each field all at once."""
    names = images[0] if images else ()
    # mypy: torch gives this function no types.
    rows = {name: [torch.atleast_1d(image[name]) for image in images] for name in names}  # type: ignore[no-untyped-call]
    columns = on_host(rows)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _of_all_processes(found: dict[int, Tensors], trainer: Trainer) -> dict[int, Tensors]:
    """Take in what the other processes have found; samplers give some images to several."""
    if trainer.world_size == 1:
        return found
    ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(ranks, found)
    images = {image_id: image for rank in ranks for image_id, image in rank.items()}
    return {image_id: images[image_id] for image_id in sorted(images)}


class KittiResults(Callback):
    """Write what is detected in validation and test as KITTI's result files, `<directory>/<image_id>.txt`.

    A later epoch overwrites them; of several processes each writes its own images.

    Args:
        directory: made if missing.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make sure that there will be something to write.

        Raises:
            UserError: the model gives no boxes.
        """
        _require(pl_module, "boxes")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Write the images of a batch."""
        if not trainer.sanity_checking:
            write_kitti_results(self.directory, _copied(outputs["images"]), pl_module.classes)  # type: ignore[arg-type]  # CenterNet's

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Write the images of a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch)
