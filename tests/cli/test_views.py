"""Test-time augmentation on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_centernet import CenterNet
from lightning_centernet.cli.source import find_images, picture_loader
from lightning_centernet.data import Transform
from lightning_centernet.views import Views, view_sizes
from tests.cli.conftest import FEW, TINY, Run
from tests.fakes import fake_pictures, write_pictures
from tests.tiny import quiet_trainer

BOTH = ["test_time.flip=true", "test_time.scales=[0.5,1,1.5]"]


@pytest.fixture(scope="session")
def lively(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a model that finds boxes, wherever they are."""
    checkpoint = torch.load(trained, weights_only=True)
    for name, values in checkpoint["state_dict"].items():
        if name.endswith("2.weight") and ".hm." in name:
            values.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
        if name.endswith("2.bias") and ".wh." in name:
            values.fill_(6.0)
    file = tmp_path_factory.mktemp("lively") / "model.ckpt"
    torch.save(checkpoint, file)
    return file


def test_predict_as_in_python(run: Run, lively: Path) -> None:
    folder = write_pictures(Path("photos"), fake_pictures(2))
    words = [f"ckpt_path={lively}", f"source={folder}", "data.num_workers=0", "trainer.accelerator=cpu"]
    assert run("predict", *words, *BOTH, "output_dir=found") == 0
    model = CenterNet.load_from_checkpoint(lively).eval()
    model.views = Views(flip=True, scales=(0.5, 1, 1.5))
    transform = Transform(model.input_size, view_sizes=view_sizes(model, model.input_size))
    (images,) = quiet_trainer().predict(model, picture_loader(find_images("photos"), transform, 4, 0))
    results = json.loads(Path("found/predictions.json").read_text())
    scores = torch.cat([image["scores"] for image in images]).numpy()
    np.testing.assert_allclose([result["score"] for result in results], scores, atol=1e-4)
    assert len({round(float(score), 3) for score in scores}) > 20  # the model says different things


def metrics(said: str) -> dict[str, str]:
    rows = [line.split("│") for line in said.splitlines() if line.startswith("│")]
    return {row[1].strip(): row[2].strip() for row in rows}


def test_validate_and_test(run: Run, lively: Path, capsys: pytest.CaptureFixture) -> None:
    words, shown = [f"ckpt_path={lively}", *TINY[1:], *FEW[:3], "logger=none", "callbacks=[progress,coco_results]"], []
    for command, views in (("test", []), ("test", BOTH), ("validate", BOTH)):
        assert run(command, *words, *views, f"output_dir=looks_{len(shown)}") == 0
        shown.append(metrics(capsys.readouterr().out))
    plain, augmented, validated = shown
    assert plain.keys() == augmented.keys()
    assert plain["test/tot"] == augmented["test/tot"]  # losses are those of the images
    found = [Path(f"looks_{number}/coco/bbox.json").read_text() for number in range(2)]
    assert found[0] != found[1]
    assert "val/map" in validated


def test_mistakes(run: Run, lively: Path, capsys: pytest.CaptureFixture) -> None:
    Image.new("RGB", (64, 48)).save("a.png")
    for word, message in {
        "test_time.scales=[0.5,2]": "test_time.scales=[0.5, 2]: must be positive numbers, one of them 1",
        "test_time.scale=2": "test_time.scales",
    }.items():
        assert run("predict", f"ckpt_path={lively}", "source=a.png", "trainer.accelerator=cpu", word) > 0
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


@pytest.mark.parametrize("word", ["test_time.flip=true", "++test_time.scales=[0.5,1]"])
def test_a_training_looks_once(run: Run, capsys: pytest.CaptureFixture, word: str) -> None:
    assert run("fit", *TINY, *FEW, word) == 1
    assert f"{word}: only validate, test and predict look at an image more than once" in capsys.readouterr().err
