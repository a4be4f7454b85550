"""The options of a loss: what there is, and whether a value will do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import signature
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from torch import Tensor

from lightning_centernet.errors import UserError, did_you_mean

Value: TypeAlias = "float | str | tuple[float, ...]"


def complete_options(name: str, function: Callable[..., Tensor], given: Mapping[str, Any]) -> dict[str, Value]:
    """Check options, and add the defaults of the others.

    Args:
        name: of the loss, for messages.
        function: the loss; its options are those of its keyword-only arguments that have a default which is not None.
        given: some of the options.

    Returns:
        All options in the function's order; numbers are floats, lists of them are tuples.

    Raises:
        UserError: naming the loss, the option, its value, and what is allowed.
    """
    defaults, kinds = _defaults(function)
    options = dict(defaults)
    for option, value in given.items():
        if option not in options:
            takes = f"it takes {', '.join(options)}" if options else "it takes none"
            raise UserError(f"loss `{name}` has no option `{option}`: {takes}{did_you_mean(option, options)}")
        options[option] = _checked(f"loss `{name}`: {option}={value!r}", value, kinds[option])
    return options


@cache
def _defaults(function: Callable[..., Tensor]) -> tuple[dict[str, Value], dict[str, Any]]:
    parameters = signature(function).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default not in (None, p.empty)}
    return options, get_type_hints(function)


def _checked(given: str, value: Any, kind: Any) -> Value:
    if kind is float:
        if not _is_positive(value):
            raise UserError(f"{given} must be a number above 0")
        return float(value)
    if get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence) or not value or not all(map(_is_positive, value)):
            raise UserError(f"{given} must be a list of numbers above 0")
        return tuple(map(float, value))
    if value not in get_args(kind):
        raise UserError(f"{given} must be one of {', '.join(get_args(kind))}")
    return str(value)


def require_choice(name: str, value: object, allowed: Any) -> None:
    """Refuse a value that is none of a `Literal`.

    Raises:
        UserError: naming it.
    """
    if value not in get_args(allowed):
        raise UserError(f"{name}={value!r} is not one of {', '.join(map(repr, get_args(allowed)))}")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
