"""The words on the command line: find the command, and put the rest in the order that Hydra's parser needs."""

from __future__ import annotations

import os
from argparse import Namespace
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version

# Private, but the same in Hydra 1.3 and 1.4: only Hydra knows which of its flags take a value.
from hydra._internal.utils import get_args_parser

from lightning_centernet.cli.quoting import quote_file
from lightning_centernet.errors import UserError

COMMANDS = {
    "fit": "train, and validate after every epoch",
    "validate": "measure a checkpoint on the validation split",
    "test": "measure a checkpoint on the test split",
    "predict": "detect objects in an image, a folder or a glob",
    "inspect": "check a data set and draw samples of it, before training",
}
USAGE = "usage: lightning-centernet COMMAND [key=value ...] [--help] [--cfg job] [--multirun] [--config-dir DIR]\n" + (
    "".join(f"\n  {name:<10}{purpose}" for name, purpose in COMMANDS.items())
)


class UsageError(UserError):
    """Report a command line that cannot be read; the exit code is 2."""


def arrange(arguments: list[str]) -> list[str]:
    """Turn the user's words into Hydra's: flags first, overrides last, file names quoted, the command as `++mode=`.

    Hydra accepts one unbroken run of overrides only. The command must be an override because the processes that
    Lightning starts for DDP, and Hydra's launchers for a sweep, get nothing but overrides.

    Raises:
        UsageError: no command, an unknown one, or several.
    """
    flags = get_args_parser().parse_intermixed_args(arguments)
    words = [word for word in flags.overrides if "=" not in word and not word.startswith("~")]
    multirun = flags.multirun or "hydra.mode=MULTIRUN" in flags.overrides
    overrides = [quote_file(word, multirun=multirun) for word in flags.overrides if word not in words]
    if flags.hydra_help:
        return _written(flags)  # composes no config, so there is nothing to override
    if words or not _needs_no_command(flags, overrides):
        overrides.append(f"++mode={_command(words)}")
    return _written(flags) + overrides


def package_version() -> str:
    """Return the installed version."""
    try:
        return version("lightning-centernet")
    except PackageNotFoundError:
        return "(not installed: run from a checkout)"


def complete_command(arguments: list[str]) -> str | None:
    """Answer a shell's query for completions while the command itself is typed; None where Hydra has to answer.

    The shell hands over the line typed so far in COMP_LINE. A command that is there already is taken out of it, because
    Hydra would not understand it.
    """
    if not any(word.startswith("query=") for word in arguments):
        return None
    program, *words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) == 1:
        return " ".join(name for name in COMMANDS if name.startswith(words[0])) or None
    os.environ["COMP_LINE"] = " ".join([program, *(word for word in words if word not in COMMANDS)])
    return None


def _needs_no_command(flags: Namespace, overrides: list[str]) -> bool:
    given = any(override.lstrip("+").startswith("mode=") for override in overrides)
    return given or any([flags.help, flags.cfg, flags.info, flags.shell_completion, flags.experimental_rerun])


def _command(words: list[str]) -> str:
    if not words:
        raise UsageError(USAGE)
    if len(words) > 1:
        raise UsageError(f"one command or key=value expected, got {' and '.join(map(repr, words))}\n\n{USAGE}")
    if words[0] not in COMMANDS:
        nearest = get_close_matches(words[0], COMMANDS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UsageError(f"unknown command {words[0]!r}.{hint}\n\n{USAGE}")
    return words[0]


def _written(flags: Namespace) -> list[str]:
    """Write parsed flags out again, without the overrides."""
    given = {f"--{name.replace('_', '-')}": value for name, value in vars(flags).items() if name != "overrides"}
    return [flag if value is True else f"{flag}={value}" for flag, value in given.items() if value]
