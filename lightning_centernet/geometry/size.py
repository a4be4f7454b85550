"""Sizes of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_centernet.errors import UserError


def as_input_size(size: Any) -> tuple[int, int]:
    """Take a height and a width in pixels.

    Raises:
        UserError: it is not two positive whole numbers.
    """
    sides = tuple(size) if isinstance(size, Sequence) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(f"input_size={size}: must be a height and a width in pixels, such as [512, 512]")
    return sides
