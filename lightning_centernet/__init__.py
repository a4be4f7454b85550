"""CenterNet, CenterTrack and CenterFusion as one PyTorch Lightning package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_centernet import _conf

if TYPE_CHECKING:
    from lightning_centernet.decoding import decode
    from lightning_centernet.encoding import encode
    from lightning_centernet.errors import UserError
    from lightning_centernet.generic_loss import GenericLoss
    from lightning_centernet.heads import Head, standard_heads
    from lightning_centernet.module import CenterNet

__all__ = ["CenterNet", "GenericLoss", "Head", "UserError", "decode", "encode", "standard_heads"]

# Loaded when first asked for, so that `--help` need not wait for torch. No module may bear one of these names:
# importing it would put the module where the public name is expected.
_HOME = {
    "CenterNet": "module",
    "GenericLoss": "generic_loss",
    "Head": "heads",
    "UserError": "errors",
    "decode": "decoding",
    "encode": "encoding",
    "standard_heads": "heads",
}

_conf.alias()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
