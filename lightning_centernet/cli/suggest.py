"""Explain a failure in the user's words: the message, and the nearest right names for a mistyped one."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_module
from hydra._internal.utils import get_args_parser  # private, see arguments.py
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_centernet._conf import NAME as CONF
from lightning_centernet.cli.arguments import UsageError
from lightning_centernet.cli.quoting import quoted
from lightning_centernet.errors import UserError


class Explanation(NamedTuple):
    """What to print, and the exit code: 2 for a wrong command line, else 1."""

    text: str
    exit_code: int


def explain(error: Exception, arguments: list[str]) -> Explanation | None:
    """Say what the user can do about an error; None when it is not the user's mistake."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, UserError):
            return Explanation(str(cause), 2 if isinstance(cause, UsageError) else 1)
    if isinstance(error, OSError) and error.filename:
        return Explanation(f"{error.filename}: {error.strerror} (output_dir says where results go)", 1)
    usage = _explain_usage(error, arguments)
    if usage is not None:
        return Explanation(usage, 2)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return Explanation("\n".join(dict.fromkeys(map(str, causes))), 1)
    return None


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Return the candidates most like a mistyped dotted name, the best first.

    The last part alone may match too: `lr` finds `optimizer.lr`.
    """
    scores = {candidate: _likeness(name, candidate) for candidate in candidates}
    likely = [candidate for candidate, score in scores.items() if score[0] > 0.6]  # difflib's own limit
    return sorted(likely, key=lambda candidate: scores[candidate], reverse=True)[:count]


def known_names(arguments: list[str]) -> set[str]:
    """Return every key and group of the config that the group choices among these arguments compose."""
    groups, config = compose_choices(get_args_parser().parse_args(arguments))
    return groups | set(_keys(OmegaConf.to_container(config)))


def check_kinds(config: DictConfig, arguments: list[str]) -> None:
    """Refuse words where the configs have numbers or truth values.

    Raises:
        UsageError: naming the key.
    """
    flags = get_args_parser().parse_args(arguments)
    _, usual = compose_choices(flags)
    for key in map(_key, flags.overrides):
        default, value = (OmegaConf.select(each, key, throw_on_missing=False) for each in (usual, config))
        if isinstance(value, str) and isinstance(default, bool):
            raise UsageError(f"{key}={value}: must be true or false")
        if isinstance(value, str) and isinstance(default, int | float):
            raise UsageError(f"{key}={value}: must be a number such as {default}")


def compose_choices(flags: Namespace) -> tuple[set[str], DictConfig]:
    """Return the names of the groups, and the config with the choices of groups alone."""
    search = _search_path(flags)
    with _hydra():
        groups = set(GlobalHydra.instance().config_loader().list_groups(""))
        choices = [override for override in flags.overrides if _key(override) in groups and "," not in override]
        return groups, compose(flags.config_name or "config", overrides=search + choices)


def _search_path(flags: Namespace) -> list[str]:
    own = flags.config_dir and quoted(f"file://{Path(flags.config_dir).absolute()}")
    return [f"hydra.searchpath=[{own}]"] if own else []


def _hydra() -> AbstractContextManager[object]:
    running = GlobalHydra.instance().is_initialized()
    return nullcontext() if running else initialize_config_module(CONF, version_base="1.3")


def _explain_usage(error: Exception, arguments: list[str]) -> str | None:
    if isinstance(error, MissingConfigException):
        return _explain_choice(error, arguments)
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: {error}{_quoting(error.override)}"
    if isinstance(error, ConfigCompositionException):
        return _explain_override(error, arguments)
    return None


def _quoting(override: str) -> str:
    key, equals, value = override.partition("=")
    return f"\nIf the value is meant as it stands, quote it: {shlex.quote(f'{key}={quoted(value)}')}" if equals else ""


def _explain_choice(error: MissingConfigException, arguments: list[str]) -> str:
    group, _, wanted = (error.missing_cfg_file or "").rpartition("/")
    options = error.options or (_options(group, arguments) if group else [])
    if not options:
        return str(error)
    return f"{group}={wanted}: must be one of {', '.join(options)}.{_question(nearest(wanted, options))}"


def _options(group: str, arguments: list[str]) -> list[str]:
    """List the choices of a group, which Hydra does not where several are made: `callbacks=[default,ema]`."""
    search = _search_path(get_args_parser().parse_args(arguments))
    with _hydra():
        return GlobalHydra.instance().config_loader().get_group_options(group, overrides=search)


def _explain_override(error: ConfigCompositionException, arguments: list[str]) -> str:
    try:
        known = known_names(arguments)
    except HydraException:  # then the choice of groups itself is wrong, and `error` says how
        return str(error)
    overrides = get_args_parser().parse_args(arguments).overrides
    keys = [_key(override) for override in overrides if not override.startswith(("+", "hydra"))]
    lines = [f"unknown key {key!r}.{_question(nearest(key, known))}" for key in keys if key not in known]
    return "\n".join([*lines, "(A key of your own is added with a plus: +key=value)"]) if lines else str(error)


def _question(names: list[str]) -> str:
    return f" Did you mean {' or '.join(names)}?" if names else ""


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def _keys(node: object, prefix: str = "") -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{name}"
        yield from _keys(value, f"{prefix}{name}.")


def _likeness(name: str, candidate: str) -> tuple[float, float]:
    whole = SequenceMatcher(None, name, candidate).ratio()
    last = SequenceMatcher(None, name.rpartition(".")[-1], candidate.rpartition(".")[-1]).ratio()
    return max(whole, last), whole


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
