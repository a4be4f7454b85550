"""What heads contribute to the loss: sums, each with the count that it is divided by."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_centernet.losses.precision import full_precision

Average: TypeAlias = Literal["elements", "objects", "slots"]
SumOverRanks: TypeAlias = Callable[[Tensor], tuple[Tensor, int]]


@dataclass(frozen=True)
class Ratio:
    """A sum of losses and what it is to be divided by, max(count, at_least) + epsilon.

    Attributes:
        total: scalar.
        count: scalar, without a gradient.
        at_least: keeps the sum undivided where nothing is counted.
        epsilon: added by the originals.
    """

    total: Tensor
    count: Tensor
    at_least: float = 0.0
    epsilon: float = 0.0

    def mean(self) -> Tensor:
        """Divide."""
        return self.total / (self.count.clamp(min=self.at_least) + self.epsilon)


@dataclass(frozen=True)
class Term:
    """An elementwise loss at the objects, averaged over what is labelled; terms of equal losses are computed together.

    Attributes:
        loss: compares predictions with targets, number by number; equal ones must have one hash.
        prediction: (B, N, D).
        target: (B, N, D).
        weight: (B, N, D) or (B, N, 1); 0 where nothing is labelled.
        average: divide by the labelled `elements`, by the labelled `objects`, or by all padded `slots`.
        apart: average each of the D columns on its own, and add the averages.
        at_least: see `Ratio`.
        epsilon: see `Ratio`.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    prediction: Tensor
    target: Tensor
    weight: Tensor
    average: Average = "elements"
    apart: bool = False
    at_least: float = 0.0
    epsilon: float = 0.0


Contribution: TypeAlias = Term | Ratio


def average(heads: Sequence[Sequence[Contribution]], sum_over_ranks: SumOverRanks | None = None) -> Tensor:
    """Divide all sums by their counts, and add up what belongs to one head.

    Args:
        heads: what each head contributes.
        sum_over_ranks: adds up a vector over all processes, and says how many they are. The average of the result over
            the processes is then the loss of one process with all their images. Without it each counts its own objects.

    Returns:
        (number of heads,), the loss of each.
    """
    table = _Table()
    for group in _alike([(head, each) for head, own in enumerate(heads) for each in own]):
        table.add(group)
    totals, counts = torch.cat(table.totals), torch.cat(table.counts)
    ranks = 1
    if sum_over_ranks is not None:
        counts, ranks = sum_over_ranks(counts)
    counts = _add_up(counts, table.mean_of_column, len(table.head_of_mean))
    divisors = counts.maximum(_constant(tuple(table.at_least), counts.device))
    divisors = divisors + _constant(tuple(table.epsilon), counts.device)
    means = _add_up(totals, table.mean_of_column, len(table.head_of_mean)) / divisors
    losses = _add_up(means, table.head_of_mean, len(heads))
    return losses if ranks == 1 else losses * ranks


class _Table:
    """Columns of sums and counts; which columns share a mean, which means share a head."""

    def __init__(self) -> None:
        self.totals: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.mean_of_column: list[int] = []
        self.head_of_mean: list[int] = []
        self.at_least: list[float] = []
        self.epsilon: list[float] = []

    def add(self, group: Sequence[tuple[int, Contribution]]) -> None:
        """Add contributions that are computed together."""
        for head, each in group:
            columns = each.prediction.shape[2] if isinstance(each, Term) else 1
            means = columns if isinstance(each, Term) and each.apart else 1
            first = len(self.head_of_mean)
            self.mean_of_column += range(first, first + means) if means > 1 else [first] * columns
            self.head_of_mean += [head] * means
            self.at_least += [each.at_least] * means
            self.epsilon += [each.epsilon] * means
        if isinstance(group[0][1], Ratio):
            self.totals.append(group[0][1].total.view(1))
            self.counts.append(group[0][1].count.view(1))
        else:
            totals, counts = _sums([each for _, each in group if isinstance(each, Term)])
            self.totals.append(totals)
            self.counts.append(counts)


def _alike(contributions: Sequence[tuple[int, Contribution]]) -> Iterable[list[tuple[int, Contribution]]]:
    groups: dict[Hashable, list[tuple[int, Contribution]]] = {}
    for head, each in contributions:
        key: Hashable = len(groups)
        if isinstance(each, Term):
            key = (each.loss, each.prediction.shape[:2], each.prediction.dtype)
        groups.setdefault(key, []).append((head, each))
    return groups.values()


def _sums(terms: Sequence[Term]) -> tuple[Tensor, Tensor]:
    """Return the weighted sum and the count of each column of terms with one loss."""
    weights = [full_precision(term.weight).expand_as(term.prediction) for term in terms]
    weight = _join(weights)
    losses = terms[0].loss(_join([term.prediction for term in terms]), _join([term.target for term in terms]))
    counted = weight
    if any(term.average != "elements" for term in terms):
        counted = _join([_counted(term, weight) for term, weight in zip(terms, weights, strict=True)])
    return (losses * weight).sum((0, 1)), counted.sum((0, 1))


def _counted(term: Term, weight: Tensor) -> Tensor:
    if term.average == "slots":
        return torch.ones_like(weight)
    if term.average == "objects":
        return (weight.amax(-1, keepdim=True) / weight.shape[-1]).expand_as(weight)
    return weight


def _join(columns: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(columns), dim=-1) if len(columns) > 1 else columns[0]


def _add_up(values: Tensor, groups: Sequence[int], number: int) -> Tensor:
    """Add up the values of each group; a NaN stays in its own."""
    if list(groups) == list(range(number)):
        return values
    strange = _constant(tuple(tuple(group != own for own in groups) for group in range(number)), values.device)
    return values.expand(number, -1).masked_fill(strange, 0.0).sum(1)


def _constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Keep a small constant on its device: sending it there at every step would make the host wait."""
    if torch.compiler.is_compiling():
        return torch.tensor(values, device=device)
    return _made(values, device)


@lru_cache(maxsize=64)
def _made(values: tuple[Any, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # validation may come first, and training needs it too
        return torch.tensor(values, device=device)
