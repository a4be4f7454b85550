"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from tests.fakes import coco_content, write_coco

settings.register_profile("same", derandomize=True, deadline=None)  # the same examples in every run
settings.load_profile("same")
torch.set_num_threads(1)  # tiny tensors: threads cost more than they give, and the machine may run tests in parallel


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the real data sets and the full set of golden numbers."""
    folder = os.environ.get("LIGHTNING_CENTERNET_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LIGHTNING_CENTERNET_SHARED names no folder with the real data")
    return Path(folder)


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A COCO data set with a field of numbers; both splits are the same pictures."""
    content = coco_content()
    for number, annotation in enumerate(content["annotations"]):
        annotation["speed"] = 0.5 * number
    file, images = write_coco(tmp_path_factory.mktemp("coco"), content=content)
    return {"train_annotations": file, "train_images": images, "val_annotations": file, "test_annotations": file,
            "input_size": (64, 96), "batch_size": 2, "num_workers": 0}  # fmt: skip
