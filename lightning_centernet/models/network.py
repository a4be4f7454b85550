"""A backbone with its heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lightning_centernet.errors import UserError
from lightning_centernet.heads import Head
from lightning_centernet.models.probe import Features, as_stacks, probe
from lightning_centernet.types import Outputs


class Network(nn.Module):
    """Put a small convolutional head for each entry of the task on a backbone.

    Args:
        backbone: maps (B, 3, H, W) to one feature map, to a list of maps, one per stack, or to a list of dicts of head
            outputs if it has heads of its own. If only some input sizes suit it, its attribute `multiple` says of what
            number they must be multiples.
        heads: the task.
        head_width: channels inside a head.
        input_size: height and width to try the backbone with.

    Attributes:
        stride: input pixels per output cell.

    Raises:
        UserError: the backbone does not fit.
    """

    def __init__(
        self, backbone: nn.Module, heads: Mapping[str, Head], *, head_width: int = 64, input_size: tuple[int, int]
    ) -> None:
        super().__init__()
        multiple = getattr(backbone, "multiple", 1)
        check_size(input_size, multiple)
        features = probe(backbone, input_size)
        self.backbone, self.stride, self.multiple = backbone, features.stride, max(multiple, features.stride)
        check_own_heads(features, heads)
        self.stacks = nn.ModuleList(
            nn.ModuleDict({name: HeadLayers(channels, head, head_width) for name, head in heads.items()})
            for channels in features.channels
        )
        # Convolutions are faster in this layout, on GPUs in half precision and on CPUs; no value changes.
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> list[Outputs]:
        """Map (B, 3, H, W) normalised images to raw logits (B, channels, h, w) for each head, in each stack.

        Raises:
            UserError: the image's sides are no multiples of what the network needs, or the backbone gives another
                number of stacks than when it was tried.
        """
        check_size((image.shape[2], image.shape[3]), self.multiple)
        stacks = as_stacks(self.backbone(image.contiguous(memory_format=torch.channels_last)))
        if not self.stacks:
            return cast("list[Outputs]", stacks)
        if len(stacks) != len(self.stacks):
            raise UserError(f"the backbone gives {len(stacks)} stacks, but gave {len(self.stacks)} when it was tried")
        heads = cast("Iterable[nn.ModuleDict]", self.stacks)
        return [{name: layers(stack) for name, layers in own.items()} for own, stack in zip(heads, stacks, strict=True)]


class HeadLayers(nn.Sequential):
    """The layers of one head: a 3 x 3 convolution, and a 1 x 1 one that starts near the head's bias.

    The last one computes in its parameters' own type also under autocast: in half precision the neighbours of a peak
    would often equal it, and a size of 20 cells would be an eighth of a cell off.
    """

    def __init__(self, channels: int, head: Head, width: int) -> None:
        last = nn.Conv2d(width, head.channels, 1)
        nn.init.normal_(last.weight, std=0.001)
        nn.init.constant_(cast("Tensor", last.bias), head.bias)
        super().__init__(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), last)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) features to (B, channels, h, w) raw logits."""
        convolution, activation, last = self
        hidden = activation(convolution(features))
        with torch.autocast(features.device.type, enabled=False):
            return cast("Tensor", last(hidden.to(last.weight.dtype)))


def check_size(size: tuple[int, int], multiple: int) -> None:
    """Refuse an input whose sides are no multiples of what the network needs.

    Raises:
        UserError: says the nearest larger size that fits.
    """
    if size[0] % multiple or size[1] % multiple:
        height, width = (-(-side // multiple) * multiple for side in size)
        raise UserError(
            f"the input is {size[0]}x{size[1]} (height x width); its sides must be multiples of {multiple}: "
            f"set data.input_size=[{height},{width}]"
        )


def check_own_heads(features: Features, heads: Mapping[str, Head]) -> None:
    """Compare the heads that a backbone brings with those of the task.

    Raises:
        UserError: one is missing, or has another number of channels.
    """
    for name, head in heads.items() if features.heads else ():
        if name not in features.heads:
            raise UserError(f"the backbone brings the heads {', '.join(features.heads)}, but not the task's `{name}`")
        if features.heads[name] != head.channels:
            raise UserError(
                f"the backbone's output `{name}` has {features.heads[name]} channels, but the head {head.channels}"
            )
