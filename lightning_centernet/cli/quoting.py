"""File names on the command line, which Hydra's grammar would otherwise take apart."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

_FILES = re.compile(
    r"\+*(source|calibration|ckpt_path|init_from|output_dir|runs_dir|data\.(root|\w+_images|\w+_annotations))"
)


def quote_file(override: str, *, multirun: bool) -> str:
    """Write an override that names a file so that Hydra reads the name as it stands; `~/` is the home folder.

    Other overrides stay as they are, and so do names that Hydra reads as text already, among them quoted and escaped
    ones. In a sweep commas separate names.
    """
    key, _, name = override.partition("=")
    if not _FILES.fullmatch(key) or _is_text(override, multirun=multirun):
        return override
    return f"{key}={quoted(str(Path(name).expanduser()) if name.startswith('~/') else name)}"


def quoted(text: str) -> str:
    """Quote a text for Hydra; with double quotes, because single ones go round the whole word in a shell."""
    return QuotedString(text, Quote.double).with_quotes()


def _is_text(override: str, *, multirun: bool) -> bool:
    try:
        read = OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    if read.is_sweep_override():
        return multirun
    _, _, name = override.partition("=")
    return read.value() is None or (isinstance(read.value(), str) and name == name.strip())
