"""3D boxes from the command line: inspected, learned, and predicted where the camera is known."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_centernet.data.kitti import read_kitti
from tests.cli.conftest import TINY, Run, command_line
from tests.fakes_kitti import write_kitti

CLASSES = "data.classes=[Car,Pedestrian]"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on fake frames of KITTI, beside them."""
    folder = tmp_path_factory.mktemp("learned")
    words = [word for word in TINY if "input_size" not in word] + ["data.input_size=[32,96]", "backbone.name=resnet10t"]
    words += ["model.max_detections=8"]
    with command_line(folder) as call, Path("said.txt").open("w") as said, redirect_stdout(said):
        write_kitti(Path("kitti"))
        data = ["data=kitti", "data.root=kitti", CLASSES, "heads=ddd", "scheduler=none", "logger=none", "threshold=0"]
        assert call("fit", *data, *words, "trainer.max_epochs=1", "trainer.precision=32", "output_dir=out") == 0
    return folder


def size(file: Path) -> tuple[int, int]:
    return Image.open(file).size


def test_next_command_asks_for_the_camera(learned: Path) -> None:
    assert "source=IMAGE_OR_FOLDER calibration=FILE_OR_FOLDER" in (learned / "said.txt").read_text()


def test_training_draws_3d_boxes_from_above(learned: Path) -> None:
    width, height = size(learned / "out/drawings/epoch_000/000003.png")
    # Panels of 96 x 32, twelve times as large: predictions and ground truth; then the view from above and the heat map.
    assert (width > 2 * 1152, height > 2 * 384) == (True, True)


@pytest.mark.parametrize("camera", ["calibration=kitti/training/calib", "calibration=one.txt", "focal_length=90", ""])
def test_predict(
    learned: Path, monkeypatch: pytest.MonkeyPatch, run: Run, capsys: pytest.CaptureFixture, camera: str
) -> None:
    monkeypatch.chdir(learned)
    Path("one.txt").write_text(Path("kitti/training/calib/000007.txt").read_text())
    out = Path("found" + camera.replace("/", "_"))
    words = ["ckpt_path=out/checkpoints/last.ckpt", "source=kitti/training/image_2", "trainer=cpu", f"output_dir={out}"]
    assert run("predict", *words, *([camera] if camera else []), "threshold=0", "data.num_workers=1") == 0
    said = capsys.readouterr().out
    drawing = size(out / "drawings/000000_000003.png")
    if not camera:
        assert "3D boxes need the camera: give calibration=" in said
        assert not (out / "kitti").exists()
        assert drawing == (160 * 8, 48 * 8)
        return
    assert "need the camera" not in said
    assert f"{out / 'kitti'}/ (KITTI's result files)" in said.replace("\n", "")
    assert drawing[0] > 160 * 8 + 384
    assert sorted(file.name for file in (out / "kitti").iterdir()) == ["000003.txt", "000007.txt"]
    rows = [line.split() for line in (out / "kitti/000003.txt").read_text().splitlines()]
    assert {row[0] for row in rows} <= {"Car", "Pedestrian"}
    assert {len(row) for row in rows} == {16}
    assert len(rows) > 2
    assert (np.array([row[13] for row in rows], float) > 0).all()  # z, which is unknown where there is no camera


def test_cameras_differ(learned: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """The same picture through a lens twice as long: the objects lie half as far to the side."""
    monkeypatch.chdir(learned)
    words = ["ckpt_path=out/checkpoints/last.ckpt", "source=kitti/training/image_2/000003.png", "trainer=cpu"]
    sides = []
    for focal in (90, 180):
        assert run("predict", *words, f"focal_length={focal}", f"output_dir=focal{focal}") == 0
        lines = Path(f"focal{focal}/kitti/000003.txt").read_text().splitlines()
        sides.append(np.array([line.split()[11] for line in lines], float))
    np.testing.assert_allclose(sides[1], sides[0] / 2, atol=1e-3)
    assert np.abs(sides[0]).max() > 0.1


def test_a_camera_for_2d_boxes_is_not_used(run: Run, trained: Path, capsys: pytest.CaptureFixture) -> None:
    Image.new("RGB", (64, 48)).save("a.png")
    assert run("predict", f"ckpt_path={trained}", "source=a.png", "trainer=cpu", "focal_length=80") == 0
    assert "the heads hm, wh, reg give no 3D boxes: the camera is not used" in capsys.readouterr().out


def test_inspect(run: Run) -> None:
    root = write_kitti(Path("kitti"))
    words = ["data.val_split=null", "data.input_size=[48,160]", CLASSES, "output_dir=look"]
    assert run("inspect", "data=kitti", f"data.root={root}", *words) == 0
    pictures = sorted(Path("look/drawings/train").iterdir())
    assert len(pictures) == len(read_kitti(root, "train"))
    for file in pictures:  # the second has no objects
        width, height = size(file)
        assert (width > 2 * 160 * 8, height > 2 * 48 * 8) == (True, True)
