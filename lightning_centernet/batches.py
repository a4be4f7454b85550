"""One batch, or several at once, as Lightning's CombinedLoader gives them for several data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_centernet.types import Batch, Tensors


def each_batch(batch: Any, change: Callable[[Any], Any]) -> Any:
    """Change a batch, or every batch of a list or dict of batches; None, where a data set has ended, stays."""
    if batch is None:
        return None
    if not _is_collection(batch):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: each_batch(part, change) for name, part in batch.items()}
    return [each_batch(part, change) for part in batch]


def batches_of(batch: Any) -> list[Batch]:
    """List the batches that there are."""
    found: list[Batch] = []
    each_batch(batch, found.append)
    return found


def add_losses(results: Sequence[tuple[Tensor, Tensors]], heads: Sequence[str]) -> tuple[Tensor, Tensors]:
    """Add what `GenericLoss` returns for several batches; what is no loss, such as a variance, is the last one's."""
    (tot, stats), *others = results
    summed = {"tot", *heads}
    for other_tot, other_stats in others:
        tot = tot + other_tot
        stats = {name: stats[name] + value if name in summed else value for name, value in other_stats.items()}
    return tot, stats


def _is_collection(batch: Any) -> bool:
    if isinstance(batch, Mapping):
        return not {"image", "input"} & batch.keys() and all(map(_may_be_batch, batch.values()))
    return isinstance(batch, list | tuple) and all(map(_may_be_batch, batch))


def _may_be_batch(part: Any) -> bool:
    return part is None or isinstance(part, Mapping) or _is_collection(part)
