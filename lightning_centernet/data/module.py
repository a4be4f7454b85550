"""The data module: the splits and their loaders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

from lightning import LightningDataModule, Trainer
from lightning.pytorch.loops.progress import _ProcessedTracker
from torch.utils.data import DataLoader

from lightning_centernet.data.augmentation import Augmentation
from lightning_centernet.data.collate import collate
from lightning_centernet.data.images import ImageDataset
from lightning_centernet.data.loading import EpochSampler, Examples, initialize_worker
from lightning_centernet.data.problems import complain
from lightning_centernet.data.sample import Dataset
from lightning_centernet.data.transforms import Transform
from lightning_centernet.errors import UserError
from lightning_centernet.skeleton import Skeleton

_logger = logging.getLogger(__name__)

Source = Callable[[], Dataset]


class DetectionData(LightningDataModule):
    """Feed a detector: batches as `lightning_centernet.types` describes them, images uint8, not yet normalised.

    Args:
        train: reads the data set, when it is first needed; None where there is none. So `val` and `test`.
        val: read after each epoch; never augmented.
        test: never augmented.
        input_size: height and width of the network's input.
        batch_size: of one process. The last batch of an epoch is left out in training where it is not full, unless it
            is the only one.
        num_workers: processes that read and warp, of each process that trains.
        max_objects: slots of a training picture; the objects beyond are not trained on, but evaluated.
        augmentation: random changes in training; None for none.
        seed: of shuffling and augmentation.
        on_error: what a picture that cannot be read does: "raise", or "skip", which takes the next good one and reports
            at the end of the epoch.
    """

    def __init__(
        self,
        train: Source | None = None,
        val: Source | None = None,
        test: Source | None = None,
        *,
        input_size: Sequence[int] = (512, 512),
        batch_size: int = 16,
        num_workers: int = 2,
        max_objects: int = 128,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008 - frozen
        seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__()
        if on_error not in ("raise", "skip"):
            raise UserError(f"on_error={on_error!r}: must be 'raise' or 'skip'")
        for name, value, least in (("batch_size", batch_size, 1), ("max_objects", max_objects, 1), ("seed", seed, 0)):
            if value < least:
                raise UserError(f"{name}={value}: must be at least {least}")
        self.sources = {name: source for name, source in (("train", train), ("val", val), ("test", test)) if source}
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_objects = max_objects
        self.seed = seed
        self.on_error = on_error
        plain = Transform(input_size)
        self._transforms = {"train": Transform(input_size, augmentation), "val": plain, "test": plain}
        self._examples: dict[str, Examples] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names by label, of the first data set."""
        return self._first().classes

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own ids by label."""
        return self._first().category_ids

    @property
    def skeleton(self) -> Skeleton | None:
        """What the objects' keypoints are, of the first data set; None where they have none."""
        return getattr(self._first(), "skeleton", None)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self._transforms["val"].input_size

    def show_at(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Show the pictures of validation and test at further input sizes too, as `views`, from the next loader on."""
        for split in ("val", "test"):
            self._transforms[split].view_sizes = tuple(sizes)

    def dataset(self, split: str) -> Dataset:
        """Read the data set of "train", "val" or "test", once.

        Raises:
            UserError: there is none, it is empty, or its classes are not those of the data sets read before.
        """
        return self._split(split).dataset

    def setup(self, stage: str) -> None:
        """Read what the stage needs, so that mistakes show before any training."""
        needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for split in needed.get(stage, ()):
            if split in self.sources:
                self._split(split)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled and augmented, differently in each epoch, also after a resumption."""
        examples = self._split("train")
        world_size, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        sampler = EpochSampler(examples, num_replicas=world_size, rank=rank, seed=self.seed)
        sampler.set_epoch(_next_epoch(self.trainer) if self.trainer else 0)
        return self._loader(examples, sampler=sampler, drop_last=len(sampler) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """In the order of the data set, letterboxed; an empty list where there is no such set."""
        return self._loader(self._split("val")) if "val" in self.sources else []

    def test_dataloader(self) -> DataLoader[Any]:
        """In the order of the data set, letterboxed."""
        return self._loader(self._split("test"))

    def teardown(self, stage: str) -> None:
        """Report what was skipped."""
        for examples in self._examples.values():
            examples.report_broken()

    def _first(self) -> Dataset:
        split = next(iter(self._examples or self.sources), "train")
        return self.dataset(split)

    def _split(self, split: str) -> Examples:
        if split not in self.sources:
            raise UserError(f"no {split} data set is given, only {', '.join(self.sources) or 'none'}")
        if split not in self._examples:
            dataset = self.sources[split]()
            self._check(split, dataset)
            skip = self.on_error == "skip"
            self._examples[split] = Examples(dataset, self._transforms[split], self.seed, skip_broken=skip)
        return self._examples[split]

    def _check(self, split: str, dataset: Dataset) -> None:
        if len(dataset) == 0:
            complain([f"the {split} data set is empty"])
        if not dataset.classes:
            complain([f"the {split} data set has no classes"])
        for other, examples in self._examples.items():
            ours, theirs = _categories(dataset), _categories(examples.dataset)
            if ours != theirs:
                complain([f"the {split} data set has the categories {ours}, {other} has {theirs}: make them agree"])
            names, others = (_joints(each) for each in (dataset, examples.dataset))
            if names != others:
                complain([f"the {split} data set has the keypoints {names}, {other} has {others}: make them agree"])
        if isinstance(dataset, ImageDataset):
            self._check_records(split, dataset)

    def _check_records(self, split: str, dataset: ImageDataset) -> None:
        counts = [len(record.annotations["labels"]) for record in dataset.records]
        if split == "train" and not any(counts):
            complain(["the train data set has no objects: there is nothing to learn"])
        over = sum(count > self.max_objects for count in counts)
        if split == "train" and over:
            message = "%d of %d training pictures hold more than max_objects=%d objects (up to %d): the rest is cut off"
            _logger.warning(message, over, len(counts), self.max_objects, max(counts))

    def _loader(self, examples: Examples, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            examples,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=partial(collate, max_objects=self.max_objects),
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            persistent_workers=self.num_workers > 0,
            worker_init_fn=initialize_worker,
            **options,
        )


def _next_epoch(trainer: Trainer) -> int:
    """Find the epoch that comes next. Lightning starts the workers before it announces the first one.

    A checkpoint written in an epoch's last validation counts the epoch as begun, not yet as processed.
    """
    epoch = cast(_ProcessedTracker, trainer.fit_loop.epoch_progress.current)
    finished = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return epoch.ready if finished else epoch.processed


def _categories(dataset: Dataset) -> dict[int, str]:
    return dict(zip(dataset.category_ids, dataset.classes, strict=True))


def _joints(dataset: Dataset) -> tuple[str, ...] | None:
    skeleton = getattr(dataset, "skeleton", None)
    return skeleton.names if skeleton else None
