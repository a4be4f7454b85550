"""What `pip install` brings: the package with its configs, run from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    pytest.importorskip("hatchling", reason="builds the wheel; part of the extra `dev`")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


def answer(installed: Path, folder: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "lightning_centernet", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_every_config_is_in_it(installed: Path) -> None:
    def listed(folder: Path) -> set[Path]:
        return {file.relative_to(folder) for file in folder.rglob("*.yaml")}

    assert listed(installed / "lightning_centernet/conf") == listed(CHECKOUT / "conf")
    assert (installed / "lightning_centernet/py.typed").is_file()


def test_configs_are_found_from_another_folder(installed: Path, tmp_path: Path) -> None:
    config = installed / "lightning_centernet/conf/optimizer/adam.yaml"
    config.write_text(config.read_text().replace("lr: ", "lr: 0.75 # "))  # so that it cannot be the checkout's
    assert "lr: 0.75" in answer(installed, tmp_path, "fit", "data=voc", "--cfg", "job", "-p", "optimizer")


def test_users_own_app_finds_them(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\noptimizer: {lr: 0.5}\n")
    words = ["--config-dir", str(tmp_path), "--config-name", "mine", "fit", "--cfg", "job", "-p", "optimizer"]
    assert "lr: 0.5" in answer(installed, tmp_path, *words)
