"""The Makefile refuses a Python that the pinned versions do not run with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("version", "refused"), [("(3, 10)", True), ("(3, 11)", False), (None, True)])
def test_python_is_checked_before_anything_is_made(tmp_path: Path, version: str | None, refused: bool) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(CHECKOUT / name, tmp_path)
    python = tmp_path / "python"
    if version:
        python.write_text(f"#!/bin/sh\necho \"$2\" | sed 's/sys.version_info/{version}/' | python3\n")
        python.chmod(0o755)
    before = sorted(tmp_path.iterdir())
    made = subprocess.run(
        ["make", "fit", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode != 0  # the stand-in makes no environment, whatever its version
    assert ("make fit PYTHON=python3.12" in made.stderr) == refused
    assert sorted(tmp_path.iterdir()) == before
