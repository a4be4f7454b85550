"""Result files written while a model is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_centernet.evaluation import per_image
from lightning_centernet.results_kitti import write_kitti_results
from lightning_centernet.types import Batch


class KittiResults(Callback):
    """Write what is detected in validation and test as KITTI's result files, `<directory>/<image_id>.txt`.

    A later epoch overwrites them; of several processes each writes its own images.

    Args:
        directory: made if missing.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Write the images of a batch."""
        if not trainer.sanity_checking:
            found = per_image(outputs["detections"], batch, int(pl_module.stride))  # type: ignore[arg-type]  # CenterNet's
            write_kitti_results(self.directory, found, pl_module.classes)  # type: ignore[arg-type]  # the same

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Write the images of a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch)
