"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tiny tensors: threads cost more than they give, and the machine may run tests in parallel


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the real data sets and the full set of golden numbers."""
    folder = os.environ.get("LIGHTNING_CENTERNET_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LIGHTNING_CENTERNET_SHARED names no folder with the real data")
    return Path(folder)
