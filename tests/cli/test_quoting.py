"""File names come through Hydra's grammar."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lightning_centernet.cli.arguments import arrange
from lightning_centernet.cli.quoting import quoted

NAMES = [
    "/home/josé/x y", "pics/img (1).jpg", "img(1)", "runs/epoch=3-step=10.ckpt", "a~b", "a,b", "it's", 'a "b"', "[a]",
    "2012", "true", " a ", "C:\\new folder (2)\\", 'é\\"', "a: b", "plain/name.jpg", "${runs_dir}/é", "",
]  # fmt: skip


def read(override: str) -> object:
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_as_it_stands(name: str) -> None:
    override, _ = arrange(["fit", f"data.root={name}"])
    assert read(override) == name
    assert arrange([override, "fit"])[0] == override  # as in the processes that Lightning starts
    assert read(f"source={quoted(name)}") == name


@pytest.mark.parametrize(
    "key", ["source", "ckpt_path", "init_from", "output_dir", "++runs_dir", "+data.root", "data.val_annotations"]
)
def test_every_key_of_a_file(key: str) -> None:
    assert arrange([f"{key}=a (1)", "fit"])[0] == f'{key}="a (1)"'


@pytest.mark.parametrize(
    "override",
    ["ckpt_path=null", "source='a (1)'", r"ckpt_path=epoch\=3.ckpt", "data.input_size=[64,64]", "optimizer.lr=1,2"],
)
def test_what_hydra_reads_stays(override: str) -> None:
    assert arrange([override, "fit"])[0] == override


def test_commas_separate_names_in_a_sweep() -> None:
    assert "init_from=a,b" in arrange(["fit", "-m", "init_from=a,b"])
    assert "init_from=a,b" in arrange(["fit", "hydra.mode=MULTIRUN", "init_from=a,b"])
    assert 'init_from="é,b"' in arrange(["fit", "-m", "init_from=é,b"])


def test_home_folder() -> None:
    assert read(arrange(["fit", "data.root=~/a b"])[0]) == str(Path.home() / "a b")
