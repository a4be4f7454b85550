"""Find the configs under one name, `lightning_centernet.conf`, in a wheel and in a checkout."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

NAME = "lightning_centernet.conf"


def alias() -> None:
    """Make a checkout's top-level conf/ importable where an installed wheel has it: inside the package."""
    package = Path(__file__).parent
    folder = package.parent / "conf"
    if (package / "conf").is_dir() or not (folder / "__init__.py").is_file():
        return
    spec = spec_from_file_location(NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is not None:
        sys.modules[NAME] = module_from_spec(spec)
