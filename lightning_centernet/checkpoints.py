"""Checkpoints as plain data: what one names is looked up among this package's own parts, and nothing else is called."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_centernet.errors import UserError
from lightning_centernet.head_weights import LEARNED
from lightning_centernet.heads import Head, standard_heads

FACTORIES = ("optimizer", "scheduler", "metrics")  # arguments that are functions; a checkpoint never holds them
SCHEDULE_LENGTHS = ("total_steps", "_schedule_phases", "T_max")  # of OneCycleLR and CosineAnnealingLR

KEYS = {"head_width": ", model.head_width={}", "weighting": ", weighting={}"}  # how the command line takes them


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """Read a checkpoint, on the CPU, without running any code from it.

    Raises:
        UserError: there is no such file, it is no checkpoint, or it holds more than plain data.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything on a file that is none of its own
        raise UserError(f"{file}: cannot be read as a checkpoint ({str(error).partition(chr(10))[0]})") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{file}: holds no checkpoint")
    return content


def stored_arguments(checkpoint: dict[str, Any], model: type) -> dict[str, Any]:
    """Take what a checkpoint says about the arguments of the class `model`.

    A backbone's pretrained weights are not fetched again, for the checkpoint's own take their place.

    Raises:
        UserError: it says more than plain values can.
    """
    stored = checkpoint.get("hyper_parameters", {})
    named = [name for name in FACTORIES if isinstance(stored, dict) and name in stored]
    if not isinstance(stored, dict) or named or not _is_plain(stored):
        reason = f"names functions for {', '.join(named)}" if named else "holds more than plain values"
        raise UserError(f"the checkpoint {reason}: it is not one of this package's, do not trust it")
    parameters = inspect.signature(model).parameters.values()
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters}
    arguments = {name: value for name, value in stored.items() if takes_any or name in known}
    if isinstance(arguments.get("backbone"), dict):
        arguments["backbone"] = arguments["backbone"] | {"pretrained": False}
    return arguments


def refuse_another_model(stored: Mapping[str, Any], own: Mapping[str, Any], heads: Mapping[str, Head]) -> None:
    """Make sure that a checkpoint's weights are those of the model.

    Args:
        stored: the checkpoint's arguments of the model, as `stored_arguments` gives them.
        own: the model's.
        heads: the model's, for they may be made by hand.

    Raises:
        UserError: the heads, classes, backbone, head width or what is learned of the weighting differ.
    """
    for name, theirs, ours in (
        ("heads", _channels(standard_heads(stored.get("heads") or {})), _channels(heads)),
        ("classes", stored.get("classes"), own["classes"]),
        ("backbone", _without_weights(stored.get("backbone")), _without_weights(own["backbone"])),
        ("head_width", stored.get("head_width"), own["head_width"]),
        ("weighting", _learned(stored.get("weighting", {})), _learned(own["weighting"])),
    ):
        if theirs and ours and theirs != ours:
            raise UserError(
                f"the checkpoint has the {name} {theirs}, but the model has {ours}: take the checkpoint's"
                f"{KEYS.get(name, '').format(theirs)}, or start from its weights alone (init_from=...)"
            )


def forget_lengths(schedules: Iterable[dict[str, Any]]) -> None:
    """Let schedules of the learning rate be as long as the run that goes on, not as the one that stopped."""
    for schedule in schedules:
        for length in SCHEDULE_LENGTHS:
            schedule.pop(length, None)


def _without_weights(backbone: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if backbone is None else {name: value for name, value in backbone.items() if name != "pretrained"}


def _learned(weighting: Mapping[str, Any] | None) -> str | None:
    """Name a weighting if it has parameters; None for one made by hand."""
    if weighting is None:
        return None
    return str(weighting["name"]) if weighting.get("name") in LEARNED else "fixed"


def _channels(heads: Mapping[str, Head]) -> dict[str, int]:
    return {name: head.channels for name, head in heads.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(entry) for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))
