from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_centernet.data import Augmentation, ImageDataset, Transform, read_coco
from lightning_centernet.data.loading import EpochSampler, Examples, initialize_worker
from lightning_centernet.errors import UserError
from tests.fakes import fake_pictures, write_coco


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    return read_coco(*write_coco(tmp_path, fake_pictures(12)))


def examples(dataset: ImageDataset, *, seed: int = 0, skip_broken: bool = False) -> Examples:
    return Examples(dataset, Transform((32, 32), Augmentation()), seed, skip_broken=skip_broken)


def loader(examples: Examples, workers: int, seed: int = 0) -> DataLoader[Any]:
    sampler = EpochSampler(examples, num_replicas=1, rank=0, seed=seed)
    return DataLoader(
        examples, batch_size=None, sampler=sampler, num_workers=workers, persistent_workers=workers > 0,
        worker_init_fn=initialize_worker,
    )  # fmt: skip


def epochs(loader: DataLoader[Any], numbers: list[int]) -> list[dict[str, torch.Tensor]]:
    """What each epoch shows: by file, the picture with the augmentation's two matrices."""
    seen = []
    for number in numbers:
        loader.sampler.set_epoch(number)
        seen.append(
            {item["file"]: torch.cat([item["transform"].flatten(), item["color"].flatten()]) for item in loader}
        )
    return seen


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[file], second[file]) for file in first)


def test_any_number_of_workers_shows_the_same(dataset: ImageDataset) -> None:
    alone, two = (epochs(loader(examples(dataset), workers), [0, 1, 2]) for workers in (0, 2))
    assert all(same(first, second) for first, second in zip(alone, two, strict=True))


def test_every_epoch_is_different_with_persistent_workers(dataset: ImageDataset) -> None:
    first, second, again = epochs(loader(examples(dataset), 2), [0, 1, 0])
    assert same(first, again)
    assert list(first) != list(second)
    assert sorted(first) == sorted(second)
    assert not any(torch.equal(first[file], second[file]) for file in first)


def test_every_picture_and_seed_is_different(dataset: ImageDataset) -> None:
    (first,), (other,) = (epochs(loader(examples(dataset, seed=seed), 0, seed), [0]) for seed in (0, 1))
    assert len({tuple(value.tolist()) for value in first.values()}) == 12
    assert list(first) != list(other)
    assert not any(torch.equal(first[file], other[file]) for file in first)


def test_ranks_share_out_the_batches_of_one_process(dataset: ImageDataset) -> None:
    ranks = [EpochSampler(examples(dataset), num_replicas=2, rank=rank, seed=3) for rank in (0, 1)]
    alone = EpochSampler(examples(dataset), num_replicas=1, rank=0, seed=3)
    for sampler in (alone, *ranks):
        sampler.set_epoch(4)
    both = [key for pair in zip(*ranks, strict=True) for key in pair]
    assert both == list(alone)
    assert {epoch for epoch, _ in alone} == {4}


def test_an_index_alone_is_epoch_zero(dataset: ImageDataset) -> None:
    one, two = examples(dataset)[3], examples(dataset)[0, 3]
    assert torch.equal(one["image"], two["image"])


def break_pictures(dataset: ImageDataset, *rows: int) -> None:
    for row in rows:
        dataset.records[row].file.write_bytes(b"broken")


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_replaced_and_reported_once(
    dataset: ImageDataset, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    break_pictures(dataset, 4, 5, 11)
    skipping = examples(dataset, skip_broken=True)
    found = loader(skipping, workers)
    with caplog.at_level(logging.WARNING):
        files = [item["file"][-7:-4] for item in found]
        assert not caplog.messages
        epochs(found, [1, 2])
    assert sorted(files) == sorted(["000", "000", "001", "002", "003", "006", "006", "006", "007", "008", "009", "010"])
    (message,) = caplog.messages
    assert "skipped 3 of 12 samples" in message
    assert "many_004.png: cannot be read as a picture" in message
    assert skipping.report_broken() == 3


def test_broken_picture_raises(dataset: ImageDataset) -> None:
    break_pictures(dataset, 4)
    with pytest.raises(UserError, match=r"many_004\.png"):
        list(loader(examples(dataset), 0))


def test_all_pictures_broken(dataset: ImageDataset) -> None:
    break_pictures(dataset, *range(12))
    with pytest.raises(UserError, match="no sample of the data set can be read"):
        examples(dataset, skip_broken=True)[0]
