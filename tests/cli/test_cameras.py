"""The cameras of pictures to predict on."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lightning_centernet.cli.cameras import find_cameras
from lightning_centernet.cli.source import Pictures
from lightning_centernet.errors import UserError
from tests.fakes_kitti import P2, write_calibration

FILES = [Path("pictures/a.png"), Path("pictures/b.jpg"), Path("more/a.png")]


def test_a_file_for_all(tmp_path: Path) -> None:
    write_calibration(tmp_path / "camera.txt", P2)
    camera = find_cameras(str(tmp_path / "camera.txt"), None, FILES)
    assert camera is not None
    for number in range(3):
        np.testing.assert_allclose(camera(number, (48, 160)), P2, rtol=1e-6)


def test_a_file_for_each_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, name in enumerate("ab"):
        write_calibration(tmp_path / f"{name}.txt", P2 * [[1 + number], [1 + number], [1]])
    camera = find_cameras(str(tmp_path), None, FILES)
    assert camera is not None
    assert [float(camera(number, (48, 160))[0, 0]) for number in range(3)] == [90, 180, 90]
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("2 of 3 pictures share a calibration with another of the same name")
    assert f"{tmp_path / 'a.txt'} for pictures/a.png" in warning


@pytest.mark.parametrize("root", ["", "some/where", "../beside", "{}/beside"])
def test_files_in_folders_like_the_pictures(tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture) -> None:
    for number, name in enumerate(["a", "more/a", "pictures/b"], start=1):
        (tmp_path / "calib" / name).parent.mkdir(parents=True, exist_ok=True)
        write_calibration(tmp_path / "calib" / f"{name}.txt", P2 * [[number], [number], [1]])
    (tmp_path / "beside/pictures").mkdir(parents=True)
    (tmp_path / "beside/pictures/a.txt").write_text("not of cameras")
    camera = find_cameras(str(tmp_path / "calib"), None, [Path(root.format(tmp_path)) / file for file in FILES])
    assert camera is not None
    assert [float(camera(number, (48, 160))[0, 0]) for number in range(3)] == [90, 270, 180]
    assert not caplog.records


def test_focal_length_looks_through_the_middle() -> None:
    camera = find_cameras(None, 250.0, FILES)
    assert camera is not None
    seen = pickle.loads(pickle.dumps(camera))(1, (100, 300)) @ [0.5, -0.2, 10, 1]  # as in a loader's worker
    assert (seen[:2] / seen[2]).tolist() == pytest.approx([162.5, 45.0])
    assert camera(1, (100, 300)).dtype == np.float32


def test_nothing_is_said() -> None:
    assert find_cameras(None, None, FILES) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("here", 700.0), "drop one of them"),
        ((None, 0.0), "focal_length=0.0: must be a positive number"),
        ((None, float("nan")), "must be a positive number"),
        (("nowhere", None), "calibration=nowhere: nothing there"),
        (("here", None), r"here: lacks the files of 1 of 3 pictures, the first is b.txt for pictures/b.jpg: add them"),
        (("notes.txt", None), "has no line `P2:`"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    write_calibration(Path("here/a.txt"), P2)
    Path("notes.txt").write_text("P0: 1 2 3\n")
    with pytest.raises(UserError, match=message):
        find_cameras(*words, FILES)


def test_unreadable_pictures_have_a_camera_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    sample = Pictures([tmp_path / "a.png"], find_cameras(None, 100.0, [tmp_path / "a.png"]))[0]
    assert sample.calibration is not None
    assert sample.calibration.shape == (3, 4)
