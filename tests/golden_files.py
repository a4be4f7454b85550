"""Numbers computed with the original implementations; tests/golden/README.md says what they hold."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

COMMITTED = Path(__file__).parent / "golden"


def folders() -> list[Path]:
    """The committed files, and the full set where the setting names it."""
    shared = os.environ.get("LIGHTNING_CENTERNET_SHARED")
    return [COMMITTED, *([Path(shared) / "golden"] if shared else [])]


def cases(pattern: str) -> list[Any]:
    """List the golden files of a pattern, each once, as parameters of a test."""
    found = {path.stem: path for folder in folders() for path in sorted(folder.glob(f"{pattern}.npz"))}
    if not found:
        raise FileNotFoundError(f"no golden file {pattern}.npz in {', '.join(map(str, folders()))}")
    return [pytest.param(path, id=name) for name, path in sorted(found.items())]


def load(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a file's description and its arrays."""
    with np.load(path) as file:
        arrays = {key: torch.from_numpy(np.array(file[key])) for key in file if key != "meta_json"}
        return json.loads(str(file["meta_json"])), arrays


def part(arrays: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Take the arrays whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
