"""What runs in the loader's workers: samples by epoch and index, each with a random generator of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import DistributedSampler

from lightning_centernet.data.sample import Dataset, Sample
from lightning_centernet.data.transforms import Transform
from lightning_centernet.errors import UserError

_logger = logging.getLogger(__name__)


class Examples(TorchDataset[dict[str, object]]):
    """A data set seen through a transform, indexed by (epoch, index), or by an index alone for epoch 0.

    The random generator of an example is derived from the seed, the epoch and the index: the same for any number of
    workers, different in every epoch.

    Args:
        dataset: the samples.
        transform: makes the network's input.
        seed: of all chance.
        skip_broken: yield the next good sample for one that cannot be read, instead of raising.
    """

    def __init__(self, dataset: Dataset, transform: Transform, seed: int = 0, *, skip_broken: bool = False) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.skip_broken = skip_broken
        self._broken = torch.zeros(len(dataset), dtype=torch.bool)
        self._broken.share_memory_()  # type: ignore[no-untyped-call]  # the workers write to it
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, object]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample = self._next_good(index) if self.skip_broken else self.dataset[index]
        return self.transform(sample, np.random.default_rng((self.seed, epoch, index)))

    def report_broken(self) -> int:
        """Warn of the samples found broken since the last report, and count them all."""
        broken = set(self._broken.nonzero().flatten().tolist())
        if new := sorted(broken - self._reported):
            _logger.warning("skipped %d of %d samples that cannot be read: %s", len(new), len(self), self._reasons(new))
        self._reported |= broken
        return len(broken)

    def _next_good(self, index: int) -> Sample:
        for candidate in range(index, index + len(self)):
            position = candidate % len(self)
            if not self._broken[position]:
                sample = self._read(position)
                if isinstance(sample, Sample):
                    return sample
                self._broken[position] = True
        raise UserError("no sample of the data set can be read: run `inspect` to see why")

    def _read(self, position: int) -> Sample | UserError:
        try:
            return self.dataset[position]
        except UserError as error:
            return error

    def _reasons(self, positions: list[int]) -> str:
        shown = [str(self._read(position)) for position in positions[:5]]
        return "; ".join(shown + ["..."] * (len(positions) > 5))


class EpochSampler(DistributedSampler[int]):
    """Shuffle by seed and epoch, share out among ranks, and yield (epoch, index).

    Lightning keeps a DistributedSampler as it is, on any number of ranks, and announces each epoch to it.
    """

    dataset: Examples

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]  # pairs, where it is declared for indices
        return ((self.epoch, index) for index in super().__iter__())

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, and report what the last one skipped."""
        self.dataset.report_broken()
        super().set_epoch(epoch)


def initialize_worker(_: int) -> None:
    """Keep OpenCV to one thread: the workers are as many as the cores already."""
    cv2.setNumThreads(0)
