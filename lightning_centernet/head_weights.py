"""How the losses of all heads become one: fixed weights, weights that are learned, weights that change over epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_centernet.errors import UserError, did_you_mean
from lightning_centernet.types import Tensors

Weighting: TypeAlias = Callable[[Mapping[str, float]], nn.Module]
WeightingSpec: TypeAlias = str | Mapping[str, Any] | nn.Module | Weighting
Schedule: TypeAlias = Mapping[Any, float]  # epoch to weight

CLASSIFYING = ("hm", "hm_hp", "nuscenes_att")  # heads whose loss is that of a classification


class FixedWeights(nn.Module):
    """Add the losses, each times its weight.

    A weighting of one's own has the same methods; to subclass this one is the easiest.

    Args:
        weights: name of each head to its weight, in the order of the losses.
    """

    weights: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.names = tuple(weights)
        # One vector: the sum takes one operator, however many heads there are. The config holds it, no checkpoint.
        self.register_buffer("weights", torch.tensor(list(weights.values())), persistent=False)

    def forward(self, losses: Tensor, present: Sequence[bool]) -> Tensor:
        """Make one loss of all.

        Args:
            losses: (H,), one for each head; 0 for one that the batch has no targets for.
            present: whether the batch has targets for a head.
        """
        return torch.dot(losses, self.weights.to(losses.dtype))

    def stats(self) -> Tensors:
        """Return what to log besides the losses: nothing."""
        return {}

    def start_epoch(self, epoch: int) -> None:
        """Do what changes with the epochs, which count from 0: nothing."""


class UncertaintyWeights(FixedWeights):
    """Learn the weight of each head together with the network: one log variance s for each (homoscedastic uncertainty).

    `kendall`: exp(-s) w L + s / 2 for a head that classifies, (exp(-s) w L + s) / 2 for the others (Kendall et al.
    2018, equations 7 and 10, where s is log sigma squared). `fairmot`: (exp(-s) w L + s) / 2 for all (Zhang et al.
    2021, with an s for each head instead of one for all of detection). Every s starts at 0, so that w says with which
    weights to begin. A loss that can be negative, such as a likelihood, does not suit: its weight would grow for ever.

    Args:
        weights: of the heads, w above.
        form: which of the two.
        classifying: the heads that classify; those of `CLASSIFYING` unless given.

    Raises:
        UserError: there is no such head.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        form: Literal["kendall", "fairmot"] = "kendall",
        classifying: Iterable[str] | None = None,
    ) -> None:
        _require_heads("weighting.classifying", classifying or (), weights)
        whole = set(CLASSIFYING if classifying is None else classifying) if form == "kendall" else set()
        super().__init__({name: weight if name in whole else weight / 2 for name, weight in weights.items()})
        self.log_variances = nn.Parameter(torch.zeros(len(weights)))

    def forward(self, losses: Tensor, present: Sequence[bool]) -> Tensor:
        """Make one loss of all; the variance of a head without targets gets a gradient of 0."""
        variances = self.log_variances.to(losses.dtype)
        if not all(present):
            pairs = zip(variances.unbind(), present, strict=True)
            variances = torch.stack([variance if there else variance * 0 for variance, there in pairs])
        return super().forward(torch.exp(-variances) * losses, present) + variances.sum() / 2

    def stats(self) -> Tensors:
        """Return `log_variance/<head>`: copies, for what is sharded is gone after its use."""
        variances = self.log_variances.detach().clone().unbind()
        return {f"log_variance/{name}": value for name, value in zip(self.names, variances, strict=True)}


class ScheduledWeights(FixedWeights):
    """Let the weights of some heads change from epoch to epoch.

    Args:
        weights: of all heads; those without a schedule keep theirs.
        epochs: for some heads a mapping of epochs, which count from 0, to weights. Before the first epoch named its
            weight holds already, and the last one holds to the end.
        interpolation: from one epoch named to the next, keep the weight and then jump (`step`), or move evenly
            (`linear`).

    Raises:
        UserError: there is no such head, or no such epoch.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        epochs: Mapping[str, Schedule] | None = None,
        interpolation: Literal["step", "linear"] = "step",
    ) -> None:
        super().__init__(weights)
        if not epochs or not isinstance(epochs, Mapping):
            example = f"'+weighting.epochs.{self.names[-1]}={{0: 0.0, 5: 1.0}}'"
            raise UserError(f"weighting.epochs={epochs}: names no head; for example, add {example}")
        if interpolation not in ("step", "linear"):
            raise UserError(f"weighting.interpolation={interpolation}: must be step or linear")
        _require_heads("weighting.epochs", epochs, weights)
        self.usual = dict(weights)
        self.interpolation = interpolation
        self.epochs = {name: _in_order(name, schedule) for name, schedule in epochs.items()}
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Take the weights of an epoch."""
        changed = {name: self._at(epoch, schedule) for name, schedule in self.epochs.items()}
        self.weights.copy_(torch.tensor(list((self.usual | changed).values())))

    def _at(self, epoch: int, schedule: Mapping[int, float]) -> float:
        for (start, before), (end, after) in pairwise(schedule.items()):
            if epoch < end:
                share = max(epoch - start, 0) / (end - start) if self.interpolation == "linear" else 0
                return before + share * (after - before)
        return schedule[max(schedule)]


LEARNED = ("kendall", "fairmot")
WEIGHTINGS = {
    "fixed": (FixedWeights, ()),
    "kendall": (UncertaintyWeights, ("classifying",)),
    "fairmot": (UncertaintyWeights, ()),
    "scheduled": (ScheduledWeights, ("epochs", "interpolation")),
}


def make_weighting(spec: WeightingSpec, weights: Mapping[str, float]) -> nn.Module:
    """Make what `GenericLoss` takes as `weighting`.

    Args:
        spec: `fixed`, `kendall`, `fairmot`; or a mapping of `name`, one of these or `scheduled`, and options of its
            class; or a module by hand, which stays as it is, or what makes one of the weights.
        weights: of the heads, in their order.

    Raises:
        UserError: there is no such weighting or option.
    """
    if isinstance(spec, nn.Module):
        return spec
    if callable(spec):
        return spec(weights)
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name", None)
    if name not in WEIGHTINGS:
        raise UserError(f"weighting={name}: must be one of {', '.join(WEIGHTINGS)}{did_you_mean(name, WEIGHTINGS)}")
    kind, allowed = WEIGHTINGS[name]
    for option in options:
        if option not in allowed:
            takes = f"{', '.join(allowed) or 'none'}{did_you_mean(option, allowed)}"
            raise UserError(f"weighting={name} has no option `{option}`: it takes {takes}")
    if kind is UncertaintyWeights:
        options["form"] = name
    return kind(weights, **options)


def plain_weighting(spec: WeightingSpec) -> dict[str, Any] | None:
    """Describe a weighting in plain values from which `make_weighting` makes it again; None for one made by hand."""
    if isinstance(spec, str):
        return {"name": spec}
    if not isinstance(spec, Mapping):
        return None
    schedules = spec.get("epochs") or {}
    epochs = {name: {str(epoch): weight for epoch, weight in each.items()} for name, each in schedules.items()}
    return dict(spec) | ({"epochs": epochs} if epochs else {})


def _require_heads(key: str, named: Iterable[str], heads: Mapping[str, float]) -> None:
    if isinstance(named, str):
        raise UserError(f"{key}={named} must be a list of heads: {key}=[{named}]")
    for name in named:
        if name not in heads:
            known = f"{', '.join(heads)}{did_you_mean(name, heads)}"
            raise UserError(f"{key}: there is no head `{name}`, only {known}")


def _in_order(name: str, schedule: Schedule) -> dict[int, float]:
    try:
        weights = {float(epoch): float(weight) for epoch, weight in schedule.items()}
    except (AttributeError, TypeError, ValueError):
        weights = {}
    whole = all(epoch.is_integer() and epoch >= 0 for epoch in weights)
    if not weights or not whole or not all(isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise UserError(
            f"weighting.epochs.{name}={schedule}: must map whole epochs to finite weights that are not negative, such "
            f"as {{0: 0.0, 5: 1.0}}"
        )
    return {int(epoch): weights[epoch] for epoch in sorted(weights)}
