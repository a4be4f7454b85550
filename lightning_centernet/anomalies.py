"""What happens when a loss is NaN or infinite: the training stops and says where, or leaves the step out and counts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_centernet.errors import UserError, did_you_mean
from lightning_centernet.intervals import LoggedSteps
from lightning_centernet.types import Batch, Tensors

OnAnomaly = Literal["raise", "skip"]
UNREAD = 1000  # batches at most, where the trainer logs less often
SHOWN = 5  # of many skipped steps

_logger = logging.getLogger(__name__)


class Watched(NamedTuple):
    """The losses of one batch, unread on their device, and whose they are.

    Attributes:
        where: epoch, batch and step.
        names: of the losses.
        values: (H,) of the same.
        images: what the batch says about its images.
    """

    where: str
    names: tuple[str, ...]
    values: Tensor
    images: dict[str, Any]

    def describe(self) -> str | None:
        """Say what is wrong, if something is; this waits for the device."""
        losses = dict(zip(self.names, self.values.tolist(), strict=True))
        bad = {name: loss for name, loss in losses.items() if not math.isfinite(loss)}
        if not bad:
            return None
        heads = [name for name in bad if name != "tot"] or ["tot"]
        good = ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items() if name not in bad)
        images = "; ".join(f"{key} {_listed(value)}" for key, value in self.images.items()) or "not named by the batch"
        return (
            f"{self.where}: the loss of {', '.join(f'{name} is {losses[name]}' for name in heads)}"
            f"{f' ({good})' if good else ''}; images: {images}"
        )


class Anomalies(Callback):
    """Watch the losses of every batch that `criterion` computes in training, also in training steps of one's own.

    The losses stay on their device and are read all at once: at the logging interval, before a validation and before a
    checkpoint is written, so that none holds spoiled weights. Nothing waits for the device in between.

    Args:
        on_anomaly: `raise` stops the training. `skip` leaves the optimiser step out and reports at the end of the
            epoch: without waiting for the device where the optimiser is fused or the precision is 16-mixed, with one
            number read in every step otherwise. In validation and test both warn, once.

    Raises:
        UserError: `on_anomaly` is something else.
    """

    def __init__(self, on_anomaly: OnAnomaly = "raise") -> None:
        if on_anomaly not in get_args(OnAnomaly):
            known = f"{', '.join(get_args(OnAnomaly))}{did_you_mean(on_anomaly, get_args(OnAnomaly))}"
            raise UserError(f"model.on_anomaly={on_anomaly}: must be one of {known}")
        self.skips = on_anomaly == "skip"
        self._seen: list[tuple[Tensors, Batch, bool]] = []  # in this batch; True in training
        self._evaluated: list[Watched] = []  # of this validation or test
        self._watched: list[Watched] = []
        self._logged = LoggedSteps()
        self._found: list[str] = []  # in this epoch
        self._bad: Tensor | None = None  # 1 if the next optimiser step is to be left out
        self._skipped: Tensor | None = None  # optimiser steps of this epoch
        self._steps = 0  # all of this epoch
        self._begun = False  # to step
        self._handle: RemovableHandle | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to watch."""
        self._watched, self._evaluated, self._begun = [], [], False
        self._release()
        if stage != "predict":
            criterion: nn.Module = pl_module.criterion  # type: ignore[assignment]  # a module may have any attribute
            self._handle = criterion.register_forward_hook(self._see, with_kwargs=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End; there will be no teardown."""
        self._release()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew."""
        self._found, self._skipped, self._steps = [], None, 0

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the losses."""
        where = f"step {trainer.global_step} (epoch {trainer.current_epoch}, batch {trainer.fit_loop.batch_idx})"
        new = self._take(where, training=True)
        self._watched += new
        if self.skips and new:
            self._mark(trainer, loss, torch.cat([each.values for each in new]))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Leave the step out if it is bad."""
        if self._bad is None:
            return
        if _is_fused(optimizer) and self._begun:  # a fused SGD makes its state in its first step, also in one left out
            optimizer.found_inf = self._bad  # type: ignore[attr-defined]  # what a GradScaler tells such optimisers
        elif _scaler(trainer) is None:
            if self._bad.item():
                optimizer.zero_grad(set_to_none=True)  # a parameter without a gradient is not stepped
            else:
                self._begun = True
        self._skipped = self._bad if self._skipped is None else self._skipped + self._bad
        self._steps, self._bad = self._steps + 1, None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Read the losses when it is time to."""
        for optimizer in trainer.optimizers if self.skips else ():
            vars(optimizer).pop("found_inf", None)
        if self._logged.due(trainer) or len(self._watched) >= UNREAD:
            self.read(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the losses, before metrics meet a network that gives no numbers."""
        self.read(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what was skipped.

        Raises:
            UserError: every step was.
        """
        self.read(trainer)
        if not self.skips:
            return
        skipped = 0 if self._skipped is None else int(self._skipped)
        pl_module.log("train/skipped_steps", float(skipped))
        said = _few(self._found)
        if 0 < skipped < self._steps:
            _logger.warning("skipped %d of %d optimiser steps: %s", skipped, self._steps, said)
        elif skipped:
            raise UserError(f"all {skipped} optimiser steps of the epoch were skipped: {said}")

    def on_validation_batch_end(  # noqa: PLR0917  # Lightning's signature
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the losses."""
        self._evaluated += self._take(f"batch {batch_idx}", training=False)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of losses that are not finite."""
        evaluated, self._evaluated = self._evaluated, []
        if not _are_finite(evaluated):
            found = _descriptions(evaluated)
            stage = "test" if trainer.testing else f"validation of epoch {trainer.current_epoch}"
            said = "%d of %d batches of the %s have a loss that is NaN or infinite, do not rely on its scores: %s"
            _logger.warning(said, len(found), len(evaluated), stage, _few(found))

    on_test_batch_end, on_test_epoch_end = on_validation_batch_end, on_validation_epoch_end

    def read(self, trainer: Trainer) -> None:
        """Read all losses since the last time; this waits for the device.

        Raises:
            UserError: one is not finite, on this process or another, and none are to be skipped; or the running
                statistics of the network are not, which no skipping mends.
        """
        watched, self._watched = self._watched, []
        if not watched:
            return
        if not trainer.strategy.reduce_boolean_decision(not _are_finite(watched), all=False):
            return
        found = _descriptions(watched)
        if self.skips:
            self._found += found
            _check_buffers(trainer, self._found)
        else:
            self._watched = watched  # whoever wants to save a checkpoint because of this error meets it again
            raise UserError(_advised(_first(found, trainer)))

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None
        self._seen.clear()

    def _take(self, where: str, *, training: bool) -> list[Watched]:
        seen, self._seen = self._seen, []
        return [
            Watched(where, tuple(stats), torch.stack([value.detach() for value in stats.values()]), _images(batch))
            for stats, batch, trained in seen
            if trained == training
        ]

    def _see(self, criterion: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        self._seen.append((result[1], args[1] if len(args) > 1 else kwargs["batch"], criterion.training))

    def _mark(self, trainer: Trainer, loss: Tensor, losses: Tensor) -> None:
        """Note on the device that the optimiser step of this batch is to be left out, on all processes."""
        bad = (~losses.isfinite().all()).float()
        if trainer.world_size > 1:
            torch.distributed.all_reduce(bad, op=torch.distributed.ReduceOp.MAX)
        self._bad = bad if self._bad is None else torch.maximum(self._bad, bad)
        if _scaler(trainer) is not None and loss.requires_grad:
            # The scaler leaves out steps whose gradients are not finite: this makes sure that they are not.
            loss.register_hook(lambda gradient: torch.where(bad > 0, math.nan, gradient))  # type: ignore[no-untyped-call]


def _images(batch: Batch) -> dict[str, Any]:
    return {key: batch[key] for key in ("file", "image_id") if isinstance(batch, Mapping) and key in batch}


def _listed(values: Any) -> str:
    values = values.tolist() if isinstance(values, Tensor) else values
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def _are_finite(watched: list[Watched]) -> bool:
    return not watched or bool(torch.cat([each.values for each in watched]).isfinite().all())


def _descriptions(watched: list[Watched]) -> list[str]:
    return [said for said in (each.describe() for each in watched) if said]


def _few(found: list[str]) -> str:
    return "\n".join([*found[:SHOWN], *(["..."] if len(found) > SHOWN else [])])


def _is_fused(optimizer: Optimizer) -> bool:
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _scaler(trainer: Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _check_buffers(trainer: Trainer, found: list[str]) -> None:
    buffers = trainer.lightning_module.named_buffers()
    said = [
        f"the running statistics {name} are no longer finite: skipping steps cannot mend them. Go on from the last "
        f"checkpoint, without the pictures named here, or with a lower optimizer.lr. {_few(found)}"
        for name, buffer in buffers
        if buffer.is_floating_point() and not buffer.isfinite().all()
    ]
    # Each process has statistics of its own, and one that stops alone leaves the others waiting.
    if trainer.strategy.reduce_boolean_decision(bool(said), all=False):
        raise UserError(_first(said, trainer))


def _first(found: list[str], trainer: Trainer) -> str:
    """Return what was found first on this process, or, where this one found nothing, on another."""
    if trainer.world_size == 1:
        return found[0]
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, found)
    return str(next(said[0] for said in (found, *everyone) if said))


def _advised(said: str) -> str:
    return (
        f"{said}. If one head fails, look at the annotations of these images (the command `inspect`). If all do, the "
        f"training ran away: lower optimizer.lr, warm up (scheduler=onecycle), set trainer.gradient_clip_val=10, or "
        f"train with precision=bf16-mixed or 32 in place of 16. To leave such steps out and count them: "
        f"model.on_anomaly=skip"
    )
