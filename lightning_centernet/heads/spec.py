"""What a head is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn

from lightning_centernet.errors import UserError
from lightning_centernet.heads.objects import Objects
from lightning_centernet.types import Batch, Detections, Tensors

Location: TypeAlias = Literal["map", "center", "joint"]


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """One output of the network: its targets, its loss and its meaning, in one value.

    Subclass it to add a head; options are further fields.

    Attributes:
        name: key of its outputs, its targets, its loss.
        channels: output channels.
        weight: factor of its loss in the total.
        bias: initial bias of its last layer.
        module: holds the parameters of its loss, if it has some; `GenericLoss` registers it.
    """

    name: str
    channels: int
    weight: float = 1.0
    bias: float = 0.0
    module: nn.Module | None = None

    @property
    def at(self) -> Location:
        """Where predictions are read for the loss: the whole `map`, each object's `center`, or each `joint`."""
        return "center"

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of the detections that must exist before this head is decoded."""
        return ()

    @abstractmethod
    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compare raw outputs with the batch's targets.

        Args:
            prediction: (B, M, channels) at the objects' centres, (B, M * J, channels) at the joints, or
                (B, channels, h, w), as `at` says.
            batch: holds this head's targets.

        Returns:
            An unweighted float32 scalar, attached to the graph also when no object is labelled.
        """

    def encode(self, objects: Objects) -> Tensors:
        """Turn annotations into this head's batch entries.

        Raises:
            UserError: this head's targets cannot be made from annotations.
        """
        raise UserError(
            f"head `{self.name}` cannot make its targets from annotations: bring batches that hold the encoded targets, "
            f"or leave the head out (heads given: it is number one of those without an encoder)"
        )

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Turn raw outputs at the peaks into fields of the detections.

        Args:
            values: (B, K, channels) raw outputs.
            detections: the fields decoded so far.
        """
        return {}


def target(batch: Mapping[str, Tensor], head: Head, *keys: str) -> Tensor:
    """Take the first of `keys` that the batch holds.

    Raises:
        UserError: it holds none of them.
    """
    for key in keys:
        if key in batch:
            return batch[key]
    raise UserError(
        f"head `{head.name}` finds no `{keys[0]}` in the batch, which holds {', '.join(sorted(batch))}: "
        f"add the target, or remove the head"
    )
