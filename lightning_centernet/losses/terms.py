"""What heads contribute to the loss: sums, each with the count that it is divided by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

from lightning_centernet.losses.precision import full_precision, precise_sum

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

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.total.device

    def mean(self) -> Tensor:
        """Divide."""
        return self.total / (self.count.clamp(min=self.at_least) + self.epsilon)


@dataclass(frozen=True)
class Term:
    """An elementwise loss at the objects, averaged over what is labelled; terms of equal losses are computed together.

    Attributes:
        loss: compares predictions with targets, number by number.
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

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.prediction.device


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
    on_device = next(each for own in heads for each in own).device.type != "cpu"
    if torch.compiler.is_compiling() and sum_over_ranks is None and on_device:
        return _one_by_one(heads)
    groups = _alike([(head, each) for head, own in enumerate(heads) for each in own])
    sums = [_sums([each for _, each in group]) for group in groups]
    totals, counts = torch.cat([total for total, _ in sums]), torch.cat([count for _, count in sums])
    ranks = 1
    if sum_over_ranks is not None:
        counts, ranks = sum_over_ranks(counts)
    layout = _layout(tuple(_Part.of(*each) for group in groups for each in group), len(heads), counts.device)
    shares = ranks / (_add_up(counts, layout.other_means).maximum(layout.at_least) + layout.epsilon)
    return _add_up(totals * shares[layout.mean_of_column], layout.other_heads)


def _one_by_one(heads: Sequence[Sequence[Contribution]]) -> Tensor:
    """Do the same for a compiler, which else would send the constants of a layout to the device in every step."""
    means = [[_mean(each) for each in own] for own in heads]
    zero = next(mean for own in means for mean in own).new_zeros(())
    return torch.stack([sum(own, start=zero) for own in means])


def _mean(each: Contribution) -> Tensor:
    if isinstance(each, Ratio):
        return each.mean()
    totals, counts = _sums([each])
    if not each.apart:
        totals, counts = totals.sum(), counts.sum()
    return (totals / (counts.clamp(min=each.at_least) + each.epsilon)).sum()


def _alike(contributions: Sequence[tuple[int, Contribution]]) -> list[list[tuple[int, Contribution]]]:
    """Put together what is computed together."""
    groups: list[list[tuple[int, Contribution]]] = []
    for head, each in contributions:
        for group in groups:
            if _fit(group[0][1], each):
                group.append((head, each))
                break
        else:
            groups.append([(head, each)])
    return groups


def _fit(one: Contribution, other: Contribution) -> bool:
    if isinstance(one, Ratio) or isinstance(other, Ratio):
        return False
    same = one.loss == other.loss and one.prediction.dtype == other.prediction.dtype
    # No hash of the sizes: for that a compiler would take them for constants, and compile anew for each batch size.
    return same and one.prediction.shape[:2] == other.prediction.shape[:2]


def _sums(group: Sequence[Contribution]) -> tuple[Tensor, Tensor]:
    """Return the sum and the count of each column of terms with one loss, or of a ratio."""
    if isinstance(group[0], Ratio):
        return group[0].total.view(1), group[0].count.view(1)
    terms = cast("Sequence[Term]", group)
    weights = [full_precision(term.weight).expand_as(term.prediction) for term in terms]
    weight = _join(weights)
    losses = terms[0].loss(_join([term.prediction for term in terms]), _join([term.target for term in terms]))
    counted = weight
    if any(term.average != "elements" for term in terms):
        counted = _join([_counted(term, weight) for term, weight in zip(terms, weights, strict=True)])
    return precise_sum(losses * weight, (0, 1)), precise_sum(counted, (0, 1))


def _counted(term: Term, weight: Tensor) -> Tensor:
    if term.average == "slots":
        return torch.ones_like(weight)
    if term.average == "objects":
        return (weight.amax(-1, keepdim=True) / weight.shape[-1]).expand_as(weight)
    return weight


def _join(columns: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(columns), dim=-1) if len(columns) > 1 else columns[0]


def _add_up(values: Tensor, others: Tensor | None) -> Tensor:
    """Add up the values of each row; a NaN of the `others` stays outside."""
    return values if others is None else values.expand_as(others).masked_fill(others, 0.0).sum(1)


class _Part(NamedTuple):
    """What the layout must know of a contribution."""

    head: int
    columns: int
    apart: bool
    at_least: float
    epsilon: float

    @classmethod
    def of(cls, head: int, each: Contribution) -> _Part:
        columns = each.prediction.shape[2] if isinstance(each, Term) else 1
        return cls(head, columns, isinstance(each, Term) and each.apart, each.at_least, each.epsilon)


class _Layout(NamedTuple):
    """Which mean a column belongs to, which ones do not belong to a mean or to a head; what bounds the divisors."""

    mean_of_column: Tensor
    other_means: Tensor | None
    other_heads: Tensor | None
    at_least: Tensor
    epsilon: Tensor


def _layout(parts: tuple[_Part, ...], heads: int, device: torch.device) -> _Layout:
    """Keep these constants on the device: sending them there at every step would make the host wait."""
    if torch.compiler.is_compiling():
        return _make_layout.__wrapped__(parts, heads, device)
    return _make_layout(parts, heads, device)


@lru_cache(maxsize=64)
def _make_layout(parts: tuple[_Part, ...], heads: int, device: torch.device) -> _Layout:
    means = [part for part in parts for _ in range(part.columns if part.apart else 1)]
    mean_of_column: list[int] = []
    first = 0
    for part in parts:
        mean_of_column += range(first, first + part.columns) if part.apart else [first] * part.columns
        first += part.columns if part.apart else 1
    with torch.inference_mode(False):  # validation may come first, and training needs it too
        return _Layout(
            torch.tensor(mean_of_column, device=device),
            _others(mean_of_column, len(means), device),
            _others([means[mean].head for mean in mean_of_column], heads, device),
            torch.tensor([mean.at_least for mean in means], device=device),
            torch.tensor([mean.epsilon for mean in means], device=device),
        )


def _others(row_of_column: Sequence[int], rows: int, device: torch.device) -> Tensor | None:
    if list(row_of_column) == list(range(rows)):
        return None
    return torch.tensor([[row != own for own in row_of_column] for row in range(rows)], device=device)
