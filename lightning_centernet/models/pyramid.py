"""Any timm model as a backbone: its feature pyramid, merged from coarse to fine up to stride 4."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

import timm
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from timm.models import FeatureInfo
from torch import Tensor, nn

from lightning_centernet.errors import UserError


class PyramidBackbone(nn.Module):
    """Extract features with a timm model and merge them top down (Lin et al. 2017, feature pyramid networks).

    Args:
        name: name of the timm model, such as `resnet18` or `convnext_tiny`.
        pretrained: load the weights that timm's hub holds for it.
        neck_channels: channels of the merged map.
        input_size: height and width of the images, for the transformers that are built for one size.

    Raises:
        UserError: timm has no such model, it gives no feature maps, or its weights cannot be fetched.
    """

    stride = 4

    def __init__(
        self,
        name: str = "resnet18",
        *,
        pretrained: bool = False,
        neck_channels: int = 64,
        input_size: tuple[int, int] = (512, 512),
    ) -> None:
        super().__init__()
        self.body = _create(name, pretrained, input_size)
        information = cast("FeatureInfo", self.body.feature_info)
        levels = [(step, place) for place, step in enumerate(information.reduction()) if step >= self.stride]
        # Of several maps of one size the last is the richest.
        self.places = list(dict(levels).values())
        self.multiple = max(step for step, _ in levels)
        widths = [information.channels()[place] for place in self.places]
        self.laterals = nn.ModuleList(nn.Conv2d(width, neck_channels, 1) for width in widths)
        self.merges = nn.ModuleList(_convolution(neck_channels) for _ in widths)
        self.channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) images to (B, neck_channels, H / 4, W / 4)."""
        pyramid = self.body(image)
        maps = [pyramid[place] for place in self.places]
        if self.channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        merged: Tensor | None = None
        for lateral, merge, features in reversed(list(zip(self.laterals, self.merges, maps, strict=True))):
            mixed = lateral(features)
            if merged is not None:
                mixed = mixed + F.interpolate(merged, size=mixed.shape[-2:], mode="nearest")
            merged = merge(mixed)
        if merged is None:
            raise RuntimeError("a pyramid has at least one level")
        size = (image.shape[2] // self.stride, image.shape[3] // self.stride)
        return merged if merged.shape[-2:] == size else F.interpolate(merged, size=size, mode="bilinear")


def make_backbone(backbone: Any, input_size: tuple[int, int]) -> nn.Module:
    """Take a module as it is, and a mapping for the arguments of `PyramidBackbone`.

    Raises:
        UserError: it is neither, or names an option that there is not.
    """
    if isinstance(backbone, nn.Module):
        return backbone
    if not isinstance(backbone, Mapping):
        raise UserError(f"backbone={backbone!r}: must be a module, or a mapping such as {{'name': 'resnet18'}}")
    allowed = {"name", "pretrained", "neck_channels"}
    unknown = sorted(set(backbone) - allowed)
    if unknown:
        raise UserError(f"backbone: unknown option {', '.join(unknown)}; it takes {', '.join(sorted(allowed))}")
    return PyramidBackbone(**backbone, input_size=input_size)


def _convolution(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    )


def _create(name: str, pretrained: bool, input_size: tuple[int, int]) -> nn.Module:
    # A name that timm lists cannot lead to a file or a foreign hub, wherever it was read.
    known = timm.list_models()
    if str(name).partition(".")[0] not in known:
        near = get_close_matches(str(name), known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists the names"
        raise UserError(f"backbone.name={name}: timm {timm.__version__} has no such model: {hint}")
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        size: dict[str, Any] = {"img_size": input_size} if config is not None and config.fixed_input_size else {}
        return timm.create_model(name, pretrained=pretrained, features_only=True, **size)
    except Exception as error:  # timm, the hub client and the network each fail in their own ways
        if pretrained:
            raise UserError(
                f"backbone.pretrained=true: the weights of {name} cannot be fetched ({type(error).__name__}: {error}): "
                f"check the connection to the hub, or train from random weights with backbone.pretrained=false"
            ) from error
        raise UserError(
            f"backbone.name={name}: timm cannot give its feature maps ({type(error).__name__}: {error}): take another"
        ) from error
