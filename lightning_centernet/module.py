"""The LightningModule: steps, logging, optimiser, checkpoints. Its mathematics live elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_centernet.anomalies import Anomalies, OnAnomaly
from lightning_centernet.batches import add_losses, batches_of, each_batch
from lightning_centernet.categories import complete_classes
from lightning_centernet.checkpoints import forget_lengths, read_checkpoint, refuse_another_model, stored_arguments
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import ground_truth
from lightning_centernet.generic_loss import GenericLoss, Normalize
from lightning_centernet.geometry.size import as_input_size
from lightning_centernet.head_weights import WeightingSpec, make_weighting, plain_weighting
from lightning_centernet.heads import HeadSpec, head_specs, standard_heads
from lightning_centernet.intervals import LoggedSteps
from lightning_centernet.labels import LabelledHeads, may_lack_targets
from lightning_centernet.metrics import coco_metrics
from lightning_centernet.models import Network, make_backbone
from lightning_centernet.preparation import denormalize, prepare
from lightning_centernet.schedules import ADAM, OptimizerFactory, SchedulerFactory, with_schedule
from lightning_centernet.skeleton import make_skeleton
from lightning_centernet.types import Batch, Outputs, Tensors
from lightning_centernet.views import Found, Views, detect

MetricFactory: TypeAlias = Callable[..., Metric]

_ON_HOST = {"transform", "view_transforms", "ground_truth"}  # what only the metrics need
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, of timm's models


class CenterNet(LightningModule):
    """Train a dict of heads on a backbone (Zhou et al. 2019, Objects as Points).

    Checkpoints hold plain values only. They name a backbone and heads that this package makes, and are rebuilt from
    these names; what was made by hand is passed to `load_from_checkpoint` again.

    Attributes:
        views: test-time augmentation, see `Views`; one look at each image unless set. No checkpoint holds it.

    Args:
        backbone: any module from (B, 3, H, W) to a feature map, a list of maps, or a list of dicts of head outputs; or
            the arguments of `PyramidBackbone` as a mapping.
        heads: the heads, or what `standard_heads` makes them from.
        optimizer: makes an optimiser of the parameters.
        scheduler: makes a learning-rate schedule of the optimiser; one that takes `total_steps` is stepped after every
            batch, others after every epoch.
        metrics: makes the metric of validation and test from the class names, and of joints from their `sigmas`.
        classes: names of the classes; their numbers unless given.
        category_ids: the data set's own ids of the classes, for writing results; 1, 2, ... unless given.
        skeleton: the joints' `names` and what else `make_skeleton` takes, for heads of poses.
        input_size: height and width of the images.
        mean: of each channel of RGB in [0, 1], to normalise uint8 images.
        std: of each channel.
        head_width: channels inside a head.
        max_detections: peaks kept in each image.
        weighting: how the heads' losses become one, see `make_weighting`.
        normalize: what the losses are averaged over, see `GenericLoss`.
        on_anomaly: what a loss that is NaN or infinite does in training: `raise` or `skip`, see `Anomalies`.

    Raises:
        UserError: something does not fit together.

    Example:
        >>> model = CenterNet({"name": "resnet10t"}, {"hm": 3, "wh": 2, "reg": 2}, input_size=(64, 96))
        >>> model(torch.zeros(1, 3, 64, 96))[-1]["hm"].shape
        torch.Size([1, 3, 16, 24])
    """

    views = Views()

    def __init__(
        self,
        backbone: nn.Module | Mapping[str, Any],
        heads: Mapping[str, HeadSpec],
        *,
        optimizer: OptimizerFactory = ADAM,
        scheduler: SchedulerFactory | None = None,
        metrics: MetricFactory = coco_metrics,
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        skeleton: Mapping[str, Any] | None = None,
        input_size: Sequence[int] = (512, 512),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        head_width: int = 64,
        max_detections: int = 100,
        weighting: WeightingSpec = "fixed",
        normalize: Normalize = "process",
        on_anomaly: OnAnomaly = "raise",
    ) -> None:
        super().__init__()
        self.skeleton = make_skeleton(skeleton) if skeleton else None
        self.heads = standard_heads(heads, classes=len(classes or ()) or None, joints=len(self.skeleton or ()) or None)
        if not self.heads:
            raise UserError("no heads are given: choose heads=ctdet, or name them: {'hm': 3, 'wh': 2, 'reg': 2}")
        self.classes, self.category_ids = complete_classes(classes, category_ids, self.heads)
        self.input_size, self.mean, self.std = as_input_size(input_size), tuple(mean), tuple(std)
        self.max_detections, self.optimizer, self.scheduler = max_detections, optimizer, scheduler
        body = make_backbone(backbone, self.input_size)
        self.network = Network(body, self.heads, head_width=head_width, input_size=self.input_size)
        self.stride = self.network.stride
        weights = make_weighting(weighting, {name: head.weight for name, head in self.heads.items()})
        self.criterion = GenericLoss(self.heads, weighting=weights, normalize=normalize)
        self.metrics = nn.ModuleDict({stage: self._make_metric(metrics) for stage in ("val", "test")})
        self.anomalies = Anomalies(on_anomaly)
        self.loss_stats: Tensors = {}
        self._logged = LoggedSteps()
        self._labelled = LabelledHeads(self.heads)
        described = {"head_width": head_width, "weighting": plain_weighting(weighting)}
        self.save_hyperparameters(self._plain_arguments(backbone) | described)

    @property
    def fields(self) -> set[str]:
        """Fields of the detections that the heads give."""
        return {field for head in self.heads.values() for field in head.provides}

    def forward(self, image: Tensor) -> list[Outputs]:
        """Map (B, 3, H, W) normalised images to raw logits, a dict of heads for each stack."""
        outputs: list[Outputs] = self.network(image)
        return outputs

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave what only the metrics need on the host, in float64 where it is so."""
        send = partial(super().transfer_batch_to_device, device=device, dataloader_idx=dataloader_idx)

        def transfer(batch: Any) -> Any:
            names = _ON_HOST & batch.keys() if isinstance(batch, dict) else set()
            kept = {name: batch[name] for name in names}
            return send({name: batch[name] for name in batch if name not in kept}) | kept if kept else send(batch)

        return each_batch(batch, transfer)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise the images and encode the annotations, on the device."""
        predicts = self._trainer is not None and self.trainer.predicting
        heads, lacking = {} if predicts else self.heads, may_lack_targets(self._trainer)
        prepared = each_batch(batch, lambda one: prepare(one, heads, self.stride, self.mean, self.std, partial=lacking))
        for one in batches_of(prepared) if self._trainer is not None and self.trainer.training else ():
            self._labelled.look(one)
        return prepared

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss, and keep `loss_stats`.

        Args:
            batch: one; or a list or dict of batches of several data sets, whose losses are added.
            batch_idx: of the epoch.
        """
        results = [self.criterion(self(one["image"]), one) for one in batches_of(batch)]
        tot, stats = add_losses(results, list(self.heads))
        self.loss_stats = {name: value.detach() for name, value in stats.items()}
        if torch.compiler.is_compiling():  # a view of what stays inside cannot leave a graph
            self.loss_stats = {name: value.clone() for name, value in self.loss_stats.items()}
        return torch.as_tensor(tot)

    def on_train_start(self) -> None:
        """Take the weights of the epoch; that of a resumed run is not announced again."""
        self.criterion.weighting.start_epoch(self.current_epoch)  # type: ignore[operator]  # a module's method

    def on_train_epoch_start(self) -> None:
        """Take the weights of the epoch."""
        self.criterion.weighting.start_epoch(self.current_epoch)  # type: ignore[operator]  # a module's method

    def on_train_epoch_end(self) -> None:
        """Make sure that all heads have learned."""
        self._labelled.require_all(self.trainer)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log every entry of `loss_stats` as `train/...`, in the steps that the trainer logs and at an epoch's end."""
        if self._logged.due(self.trainer) and self.loss_stats:
            size = sum(len(one["image"]) for one in batches_of(batch))
            self.log_dict({f"train/{name}": value for name, value in self.loss_stats.items()}, batch_size=size)
            # With prog_bar=True Lightning would read it from the device, and wait for that, after every single step.
            self.trainer.progress_bar_metrics["train/tot"] = self.loss_stats["tot"].item()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Log the loss as `val/...`, and take the detections into the metrics.

        Returns:
            The fields of `Found`; without a heat map nothing is found.
        """
        return self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Do as `validation_step` does, under `test/...`."""
        return self._evaluate("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensors]:
        """Detect objects; one dict an image, boxes in original pixels, or in the input's if there is no `transform`."""
        return detect(self, batch).images

    def on_validation_epoch_end(self) -> None:
        """Log the metrics as `val/...`."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics as `test/...`."""
        self._log_metrics("test")

    def configure_callbacks(self) -> list[Callback]:
        """Watch the losses."""
        return [self.anomalies]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make sure that no loss went wrong before a file is written."""
        self.anomalies.read(self.trainer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser and its schedule."""
        optimizer = self.optimizer(self.parameters())
        return with_schedule(optimizer, self.scheduler, lambda: int(self.trainer.estimated_stepping_batches))

    def denormalize(self, image: Tensor) -> Tensor:
        """Turn the network's input back into (B, 3, H, W) uint8 RGB pictures."""
        return denormalize(image, self.mean, self.std)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: str | torch.device = "cpu", strict: bool = True, **kwargs: Any
    ) -> CenterNet:
        """Rebuild a model from a checkpoint.

        Args:
            checkpoint_path: the file; it is read as plain data, and nothing that it names is called, but for this
                package's own parts.
            map_location: the device to put the model on.
            strict: whether the weights must be those of the model.
            **kwargs: arguments of the class to put in place of the checkpoint's, such as `backbone` and `heads` made by
                hand.

        Raises:
            UserError: the file is no such checkpoint, or does not fit the arguments.
        """
        # mypy: Lightning's own lets a file name what is called.
        checkpoint = read_checkpoint(checkpoint_path)
        arguments = stored_arguments(checkpoint, cls) | kwargs
        for name in ("backbone", "heads", "weighting"):
            if name in arguments and arguments[name] is None:
                raise UserError(f"{checkpoint_path}: its {name} was made by hand: pass {name}= to load_from_checkpoint")
        model = cls(**arguments)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=strict)
        return model.to(map_location)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another model; let schedules be as long as they are now.

        Raises:
            UserError: the checkpoint's heads, classes, backbone or head width differ from the model's.
        """
        own = {**self.hparams, "classes": list(self.classes)}
        refuse_another_model(stored_arguments(checkpoint, type(self)), own, self.heads)
        forget_lengths(checkpoint.get("lr_schedulers", ()))
        self.criterion.weighting.start_epoch(checkpoint.get("epoch", 0))  # type: ignore[operator]  # a module's method

    def _plain_arguments(self, backbone: nn.Module | Mapping[str, Any]) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("classes", "category_ids", "input_size", "mean", "std")}
        spec = dict(backbone) if isinstance(backbone, Mapping) else None
        joints = {"skeleton": self.skeleton.plain()} if self.skeleton else {}
        plain = {"backbone": spec, "heads": head_specs(self.heads), **lists, **joints}
        return plain | {"max_detections": self.max_detections}

    def _make_metric(self, make: MetricFactory) -> Metric:
        if self.skeleton and "keypoints" in self.fields:
            return make(self.classes, sigmas=self.skeleton.known_sigmas)
        return make(self.classes)

    def _evaluate(self, stage: str, batch: Batch) -> dict[str, Any]:
        stacks = self(batch["image"])
        _, loss_stats = self.criterion(stacks, batch)
        for name in (name for name in loss_stats if name in ("tot", *self.heads)):
            value, size = loss_stats[name].detach(), len(batch["image"])
            self.log(f"{stage}/{name}", value, prog_bar=name == "tot", batch_size=size, sync_dist=True)
        found = detect(self, batch, stacks[-1]) if "hm" in self.heads else Found(stacks[-1], {}, [])
        if "ground_truth" in batch and "boxes" in found.detections:
            self.metrics[stage].update(found.images, ground_truth(batch))  # type: ignore[operator]
        return found._asdict()

    def _log_metrics(self, stage: str) -> None:
        metric = self.metrics[stage]
        # A rank that saw no image must not leave the others waiting for it.
        if isinstance(metric, Metric) and (metric.update_called or self.trainer.world_size > 1):
            scores = metric.compute()
            self.log_dict({f"{stage}/{name}": score for name, score in scores.items() if name != "map"})
            self.log_dict({f"{stage}/{name}": score for name, score in scores.items() if name == "map"}, prog_bar=True)
            metric.reset()
