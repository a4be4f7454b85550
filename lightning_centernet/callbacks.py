"""What a training run does on the side."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import STEP_OUTPUT
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]  # it has no stubs
from torch import Tensor

from lightning_centernet.draw import Picture, Scene, side_by_side
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import per_image
from lightning_centernet.skeleton import Skeleton
from lightning_centernet.types import Batch, Tensors

logger = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Keep the best checkpoint, of a resumed run too, whose folder is a new one; the file of the old run stays."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score where its file still is; Lightning's own does so in the same folder only."""
        if Path(state_dict["best_model_path"]).is_file():
            super().load_state_dict(state_dict | {"dirpath": self.dirpath})


class LogEveryEpoch(Callback):
    """Log the training at least once an epoch, however few steps it has."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shorten the logging interval to an epoch; only now is its number of steps known."""
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches
        # mypy: Lightning sets this attribute from another class.
        trainer.log_every_n_steps = math.ceil(min(trainer.log_every_n_steps, steps))  # type: ignore[attr-defined]


class Drawable(Protocol):
    """What a module must have for its predictions to be drawn."""

    stride: int
    classes: Sequence[str] | None
    skeleton: Skeleton | None

    def denormalize(self, image: Tensor) -> Tensor:
        """Turn the network's input into (B, 3, H, W) uint8 RGB."""


class DrawPredictions(Callback):
    """Show how the first validation images are seen: predictions, ground truth and heat map, side by side.

    Objects are drawn with their joints; or as 3D boxes, and these from above too.
    Writes `<directory>/epoch_000/<image name>.png`, and the same to TensorBoard where it logs. The module is a
    `Drawable` whose `validation_step` returns `outputs`, with the raw `hm`, and `detections` on the output grid. Of
    several processes the first one draws, its own images.

    Args:
        directory: made if missing.
        images: how many, each epoch.
        threshold: predictions of lower scores are left out.
    """

    def __init__(self, directory: str | Path, images: int = 8, threshold: float = 0.3) -> None:
        self.directory = Path(directory)
        self.images = images
        self.threshold = threshold
        self.drawn: set[str] = set()
        self.warned = False

    def setup(self, trainer: Trainer, *_: object, **__: object) -> None:
        """Make sure of the directory before any work is done.

        Raises:
            UserError: nothing can be written there.
        """
        if not trainer.is_global_zero:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.directory).close()
        except OSError as error:
            raise UserError(
                f"{self.directory}: cannot write pictures of predictions: {error.strerror}; choose another directory"
            ) from error

    def on_validation_epoch_start(self, *_: object) -> None:
        """Start a new set of pictures."""
        self.drawn = set()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Batch, *_: object
    ) -> None:
        """Draw images of this batch while there are too few."""
        missing = self.images - len(self.drawn)
        if trainer.sanity_checking or not trainer.is_global_zero or missing <= 0 or not self._drawable(outputs, batch):
            return
        module, step = cast(Drawable, pl_module), cast(dict[str, Tensors], outputs)
        files = batch["file"][:missing]
        found = _detected(module, step["detections"], batch, len(files), self.threshold)
        for index, file in enumerate(files):
            picture = _picture(module, found[index], step["outputs"], batch, index)
            self._keep(trainer, self._new_name(file), picture)

    def _drawable(self, outputs: STEP_OUTPUT, batch: Batch) -> bool:
        """Tell if all is there; a user's own steps and batches need not have it."""
        returned = outputs if isinstance(outputs, Mapping) else {}
        missing = {"outputs", "detections"} - returned.keys() | {"image", "annotations", "file"} - batch.keys()
        if not missing:  # nor need a model have these heads
            missing = {"hm"} - returned["outputs"].keys() | {"boxes"} - returned["detections"].keys()
        if missing and not self.warned:
            self.warned = True
            logger.warning(
                "no predictions are drawn: the validation step or its batch lacks %s", ", ".join(sorted(missing))
            )
        return not missing

    def _new_name(self, file: str) -> str:
        """Name a picture after its image, and number it where images of two folders share a name."""
        name = Path(file).stem
        if name in self.drawn:
            name = f"{name}_{len(self.drawn)}"
        self.drawn.add(name)
        return name

    def _keep(self, trainer: Trainer, name: str, picture: Picture) -> None:
        folder = self.directory / f"epoch_{trainer.current_epoch:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        png = _png(picture)
        (folder / f"{name}.png").write_bytes(png)
        for board in trainer.loggers:
            if isinstance(board, TensorBoardLogger):
                summary = Summary(value=[Summary.Value(tag=f"predictions/{name}", image=_board_image(picture, png))])
                board.experiment.file_writer.add_summary(summary, trainer.global_step)


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)  # a quarter of the time of the default, 1/5 larger
    return file.getvalue()


def _board_image(picture: Picture, png: bytes) -> Summary.Image:
    """Wrap the encoded picture; TensorBoard's own `add_image` would encode it again, slowly."""
    height, width, channels = picture.shape
    return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)


def _picture(module: Drawable, found: Tensors, outputs: Tensors, batch: Batch, index: int) -> Picture:
    """Draw one image of a batch, in the network's input pixels."""
    image = module.denormalize(batch["image"][index : index + 1])[0].permute(1, 2, 0).cpu().numpy()
    calibration = batch["calibration"][index].cpu() if "calibration" in batch else None
    scene = Scene(image, module.classes or (), module.skeleton, calibration)
    truth = {name: values for name, values in _annotated(batch["annotations"], index).items() if name in found}
    panels = {"Predicted": scene.draw(found), "Ground truth": scene.draw(truth)}
    if scene.has_depth(truth):
        panels["From above (white: ground truth)"] = scene.draw_above(found, truth)
    return side_by_side(panels | {"Heat map": scene.draw_heatmap(outputs["hm"][index].float().sigmoid().cpu())})


def _detected(module: Drawable, detections: Tensors, batch: Batch, count: int, threshold: float) -> list[Tensors]:
    """Take the detections in the first images, of high scores, in input pixels; lifted where the batch has cameras."""
    first = {name: values[:count].cpu() for name, values in detections.items()}
    inputs: Batch = {name: batch[name][:count].cpu() for name in ("image", "calibration") if name in batch}
    images = per_image(first, inputs, module.stride)  # without the batch's transform
    return [{name: values[each["scores"] >= threshold] for name, values in each.items()} for each in images]


def _annotated(annotations: Tensors, index: int) -> Tensors:
    objects = {name: values[index].cpu() for name, values in annotations.items()}
    objects["labels"] = objects["labels"].masked_fill(objects["ignore"].bool(), -1)
    return {name: values[objects["mask"].bool()] for name, values in objects.items()}
