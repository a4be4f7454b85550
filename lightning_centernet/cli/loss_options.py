"""Options of a head's loss, beside its name: `heads.wh.loss=smooth_l1 heads.wh.loss.beta=0.5`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from hydra._internal.utils import get_args_parser  # private, see arguments.py
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lightning_centernet.cli.arguments import UsageError
from lightning_centernet.cli.suggest import compose_choices

_WORD = re.compile(r"(?P<plus>\+*)(?P<key>heads\.[^.=]+\.loss)(?:\.(?P<option>[^.=]+))?=(?P<value>.*)", re.DOTALL)


class _Word(NamedTuple):
    plus: str
    option: str  # "name" for the loss itself
    values: list[str]  # several in a sweep


def join_loss_options(arguments: list[str]) -> list[str]:
    """Write a loss and its options as the one value that they are: `heads.wh.loss={name:smooth_l1,beta:0.5}`.

    Options alone go with the loss, and the other options, that the config has. Every combination makes a sweep.

    Args:
        arguments: as `arrange` leaves them.

    Raises:
        UsageError: there are options for a loss that neither the words nor the config name, or one has no value.
    """
    words: dict[str, list[_Word]] = {}
    for argument in arguments:
        match = _WORD.fullmatch(argument)
        if match:
            word = _Word(match["plus"], match["option"] or "name", list(_values(argument, match["value"])))
            words.setdefault(match["key"], []).append(word)
    joined = {key: own for key, own in words.items() if any(word.option != "name" for word in own)}
    if not joined:
        return arguments
    kept = [each for each in arguments if (match := _WORD.fullmatch(each)) is None or match["key"] not in joined]
    return kept + [_join(key, own, arguments) for key, own in joined.items()]


def _values(argument: str, value: str) -> Iterator[str]:
    if not value:
        raise UsageError(f"{argument} has no value: write one behind it, or leave the word out")
    override = OverridesParser.create().parse_override(argument)
    return override.sweep_string_iterator() if override.is_sweep_override() else iter([value])


def _join(key: str, words: Sequence[_Word], arguments: list[str]) -> str:
    options = {word.option: word.values for word in words}
    if "name" not in options:
        options = _configured(key, words[0], arguments) | options
    choices = [dict(zip(options, values, strict=True)) for values in product(*options.values())]
    written = ["{" + ",".join(f"{option}:{value}" for option, value in choice.items()) + "}" for choice in choices]
    return f"{words[0].plus}{key}={','.join(written)}"


def _configured(key: str, word: _Word, arguments: list[str]) -> dict[str, list[str]]:
    _, config = compose_choices(get_args_parser().parse_args(arguments))
    loss = OmegaConf.select(config, key)
    if loss is None:
        raise UsageError(f"{key}.{word.option}={word.values[0]}: name the loss too, such as {key}=smooth_l1")
    usual = loss if isinstance(loss, DictConfig) else {"name": loss}
    return {str(option): [str(value)] for option, value in usual.items()}
