"""What a head is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from lightning_centernet.errors import MissingTargetsError, UserError
from lightning_centernet.geometry.gather import gather
from lightning_centernet.heads.objects import Objects
from lightning_centernet.losses import Contribution
from lightning_centernet.types import Batch, Detections, Outputs, Tensors

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

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow.
        """
        if isinstance(self.channels, bool) or not isinstance(self.channels, int) or self.channels < 1:
            raise UserError(f"head `{self.name}`: channels={self.channels!r} is not a positive whole number")
        for option, kind in get_type_hints(type(self)).items():
            value = getattr(self, option, None)
            if not _fits(value, kind):
                raise UserError(f"head `{self.name}`: {option}={value!r} is not {_describe(kind)}")
        if isinstance(self.weight, int | float) and not math.isfinite(self.weight):
            raise UserError(f"head `{self.name}`: weight={self.weight} must be a finite number")

    @property
    def channels_per_class(self) -> int:
        """Channels for each class of objects; 0 where their number does not depend on the classes."""
        return 0

    @property
    def at(self) -> Location:
        """Where predictions are read for the loss: the whole `map`, each object's `center`, or each `joint`."""
        return "center"

    @property
    def reads(self) -> tuple[str, ...]:
        """Other heads, if the task has them, whose predictions at the same places `criterion` gets behind its own."""
        return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of the detections that must be final before this head is decoded."""
        return ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Further fields that must be final, if any head gives them at all."""
        return ()

    @property
    def provides(self) -> tuple[str, ...]:
        """Fields of the detections that this head adds or replaces."""
        return ()

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Keys of the target, the first that exists is used; a batch that holds none has no such labels at all."""
        return ()

    @abstractmethod
    def criterion(self, prediction: Tensor, batch: Batch) -> Tensor | Sequence[Contribution]:
        """Compare raw outputs with the batch's targets.

        Args:
            prediction: (B, M, channels) at the objects' centres, (B, M * J, channels) at the joints, or
                (B, channels, h, w), as `at` says; followed by the channels of what it `reads`.
            batch: holds this head's targets.

        Returns:
            An unweighted scalar, attached to the graph also when no object is labelled; or terms, which are computed
            together with those of other heads.
        """

    def encode(self, objects: Objects) -> Tensors:
        """Turn annotations into this head's batch entries.

        Raises:
            UserError: this head's targets cannot be made from annotations.
        """
        raise without_encoder(self.name)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Turn raw outputs at the peaks into fields of the detections.

        Args:
            values: (B, K, channels) raw outputs.
            detections: the fields decoded so far.
        """
        return {}

    def decode_outputs(self, outputs: Outputs, index: Tensor, detections: Detections) -> Tensors:
        """Turn raw outputs into fields of the detections; override it where values at the peaks are not enough.

        Args:
            outputs: head name to raw logits (B, channels, h, w).
            index: (B, K) int64, the peaks' cells as y * w + x.
            detections: the fields decoded so far.
        """
        return self.decode(gather(raw_output(outputs, self), index).float(), detections)

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Turn raw outputs for the mirrored image into those for the image; as they are, unless overridden.

        Args:
            output: (B, channels, h, w), its columns already from left to right as in the image.
            joints: of each joint the one that is in its place in a mirror.
        """
        return output

    def combine(self, outputs: Tensor) -> Tensor:
        """Average raw outputs for N views of the same images, (N, B, channels, h, w) float32."""
        return outputs.mean(0)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    if get_origin(kind) is not None or not isinstance(kind, type):
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _describe(kind: Any) -> str:
    allowed = [value for part in (kind, *get_args(kind)) if get_origin(part) is Literal for value in get_args(part)]
    return f"one of {', '.join(map(repr, allowed))}" if allowed else f"of the type {getattr(kind, '__name__', kind)}"


def without_encoder(name: str) -> MissingTargetsError:
    """Explain that a head's targets must come with the batch."""
    return MissingTargetsError(
        f"head `{name}` cannot make its targets from annotations: bring batches that hold the encoded targets, "
        f"or remove the head"
    )


def mean_probability(logits: Tensor) -> Tensor:
    """Average probabilities over the first axis; the result are logits again."""
    return torch.logsumexp(F.logsigmoid(logits), dim=0) - torch.logsumexp(F.logsigmoid(-logits), dim=0)


def raw_output(outputs: Mapping[str, Tensor], head: Head) -> Tensor:
    """Take a head's raw logits (B, channels, h, w).

    Raises:
        UserError: there are none, or of another number of channels.
    """
    if head.name not in outputs:
        raise UserError(f"the network gives no output for head `{head.name}`, only {', '.join(outputs)}")
    output = outputs[head.name]
    if output.shape[1] != head.channels:
        shape = tuple(output.shape)
        raise UserError(f"head `{head.name}` has {head.channels} channels, but its output has shape {shape}")
    return output


def target(batch: Mapping[str, Tensor], head: Head, *keys: str, like: Tensor | None = None) -> Tensor:
    """Take the first of `keys` that the batch holds.

    Raises:
        UserError: it holds none of them, or the shape is not that of `like`.
    """
    for key in keys:
        if key in batch:
            if like is not None and batch[key].shape != like.shape:
                wanted, given = tuple(like.shape), tuple(batch[key].shape)
                raise UserError(f"head `{head.name}`: the batch's `{key}` must have the shape {wanted}, not {given}")
            return batch[key]
    raise UserError(
        f"head `{head.name}` finds no `{keys[0]}` in the batch, which holds {', '.join(sorted(batch))}: "
        f"add the target, or remove the head"
    )


def require_images(output: Tensor, key: str, target: Tensor) -> None:
    """Refuse a target for another number of images.

    Raises:
        UserError: naming its key and both numbers.
    """
    if target.shape[0] != output.shape[0]:
        raise UserError(
            f"the batch's `{key}` has a first axis of {target.shape[0]}, but the outputs of {output.shape[0]}"
        )
