"""Losses that a config names: `l1`, or with options `{name: smooth_l1, beta: 0.5}`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias, cast

from torch import Tensor

from lightning_centernet.errors import UserError, did_you_mean
from lightning_centernet.losses.boxes import ciou_loss, diou_loss, giou_loss, iou_loss
from lightning_centernet.losses.elementwise import (
    balanced_l1_loss,
    huber_loss,
    l1_loss,
    l2_loss,
    normalized_l1_loss,
    smooth_l1_loss,
    wing_loss,
)
from lightning_centernet.losses.keypoints import oks_loss
from lightning_centernet.losses.options import Value, complete_options
from lightning_centernet.losses.uncertainty import laplace_loss

Table: TypeAlias = Mapping[str, Callable[..., Tensor]]

ELEMENTWISE: Table = MappingProxyType(
    {
        "l1": l1_loss,
        "smooth_l1": smooth_l1_loss,
        "l2": l2_loss,
        "mse": l2_loss,  # another name of it
        "huber": huber_loss,
        "balanced_l1": balanced_l1_loss,
        "wing": wing_loss,
        "normalized_l1": normalized_l1_loss,
    }
)
BOXES: Table = MappingProxyType({"iou": iou_loss, "giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss})
KEYPOINTS: Table = MappingProxyType({"oks": oks_loss})
UNCERTAIN: Table = MappingProxyType({"laplace": laplace_loss})


@dataclass(frozen=True)
class Named:
    """A loss of a table and all its options; losses that are the same are equal and have the same hash.

    Attributes:
        name: in the table; of several names for one loss the first.
        options: those that differ from the defaults may be given, all are held, in the order of the function.
    """

    name: str
    options: tuple[tuple[str, Value], ...] = ()
    table: ClassVar[Table] = {}

    def __post_init__(self) -> None:
        """Check the name and the options, and complete these.

        Raises:
            UserError: naming the loss, the option, its value, and what is allowed.
        """
        if self.name not in self.table:
            raise _unknown_loss(self.name, self.table)
        function = self.table[self.name]
        options = complete_options(self.name, function, dict(self.options))
        object.__setattr__(self, "name", next(name for name, each in self.table.items() if each is function))
        object.__setattr__(self, "options", tuple(options.items()))

    def __call__(self, prediction: Tensor, target: Tensor, **inputs: Tensor) -> Tensor:
        """Compute the loss without reducing it; `inputs` are what it needs besides."""
        return self.table[self.name](prediction, target, reduction="none", **dict(self.options), **inputs)


@dataclass(frozen=True)
class Elementwise(Named):
    """A loss that compares number with number: (..., D) and (..., D) give (..., D)."""

    table: ClassVar[Table] = ELEMENTWISE


@dataclass(frozen=True)
class BoxLoss(Named):
    """A loss of the overlap of boxes x1 y1 x2 y2: (..., 4) and (..., 4) give (...)."""

    table: ClassVar[Table] = BOXES


@dataclass(frozen=True)
class KeypointLoss(Named):
    """A loss of the keypoints of objects, (..., J, 2): gives (...)."""

    table: ClassVar[Table] = KEYPOINTS


@dataclass(frozen=True)
class UncertainLoss(Named):
    """A loss of numbers with their scales, (..., 2 D) against (..., D): gives (..., D)."""

    table: ClassVar[Table] = UNCERTAIN


def named_loss(spec: str | Mapping[str, Any], *kinds: type[Named]) -> Named:
    """Build the loss that a config asks for.

    Args:
        spec: its name, or a mapping of `name` and its options.
        kinds: those that it may be of.

    Raises:
        UserError: there is no such loss or option, or the option does not allow the value.

    Example:
        >>> named_loss({"name": "smooth_l1", "beta": 0.5}, Elementwise, BoxLoss)
        Elementwise(name='smooth_l1', options=(('beta', 0.5),))
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise UserError(f"loss={spec!r} must be a name such as l1, or a mapping such as {{name: smooth_l1, beta: 0.5}}")
    name, options = spec["name"], tuple((option, value) for option, value in spec.items() if option != "name")
    for kind in kinds:
        if name in kind.table:
            return kind(name, options)
    names = [each for kind in kinds for each in kind.table]
    raise _unknown_loss(name, names)


def elementwise(spec: str | Mapping[str, Any]) -> Elementwise:
    """Build an elementwise loss, see `named_loss`."""
    return cast("Elementwise", named_loss(spec, Elementwise))


def _unknown_loss(name: str, names: Collection[str]) -> UserError:
    elsewhere = any(name in kind.table for kind in Named.__subclasses__())
    hint = f"; `{name}` is for other kinds of heads" if elsewhere else did_you_mean(name, names)
    return UserError(f"unknown loss `{name}`: it can be {', '.join(names)}{hint}")
