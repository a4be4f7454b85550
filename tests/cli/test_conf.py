"""Every file in conf/, found by listing the folder."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_object
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from lightning_centernet._conf import NAME

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(file.relative_to(CONF) for file in CONF.rglob("*.yaml"))
CHOICES = [f"{file.parent}={file.stem}" for file in FILES if file.parent != Path() and file.parts[0] != "hydra"]
LONG = {"config.yaml", "trainer/default.yaml", "data/street.yaml"}  # they list everything


def composed(*overrides: str) -> DictConfig:
    with initialize_config_module(NAME, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def targets(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]
    return []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_file_is_short_and_says_what_it_is(file: Path) -> None:
    lines = (CONF / file).read_text().splitlines()
    assert lines[0].startswith("#")
    assert lines[0] != "# @package _global_" or lines[1].startswith("#")
    assert len(lines) <= 20 or str(file) in LONG


@pytest.mark.parametrize("choice", CHOICES)
def test_choice_composes_and_its_targets_exist(choice: str) -> None:
    config = composed(choice)
    config.output_dir = "runs"  # Hydra knows the time only while it runs
    plain = OmegaConf.to_container(config, resolve=True)
    found = [target for target in targets(plain) if target not in ("???", "lightning.pytorch.loggers.WandbLogger")]
    assert found
    for target in found:
        assert callable(get_object(target)), target


def test_choices_were_found() -> None:
    groups = {choice.partition("=")[0] for choice in CHOICES}
    usual = "backbone callbacks data debug experiment heads logger optimizer scheduler trainer weighting"
    assert set(usual.split()) <= groups


def test_trainer_lists_every_argument_of_lightning() -> None:
    arguments = set(inspect.signature(Trainer.__init__).parameters) - {"self", "logger", "callbacks"}
    assert set(composed().trainer) - {"_target_"} == arguments


@pytest.mark.parametrize("name", ["default", "cpu", "gpu", "ddp"])
def test_trainers_differ_from_the_default_in_few_keys(name: str) -> None:
    usual, chosen = composed().trainer, composed(f"trainer={name}").trainer
    assert set(usual) == set(chosen)
    assert len([key for key in usual if usual._get_node(key) != chosen._get_node(key)]) <= 2


def test_overrides_that_users_try_first() -> None:
    """Hydra refuses a key that is not there."""
    words = """
        data=voc data.root=x data.batch_size=3 data.num_workers=0 data.input_size=[256,320] data.on_error=skip
        data.augmentation.flip=0 heads.wh.weight=0.05 backbone.name=resnet50 backbone.pretrained=true
        optimizer.lr=1e-3 trainer.max_epochs=2 trainer.precision=bf16-mixed trainer.devices=4 seed=3
        ckpt_path=last init_from=x source=x output_dir=x threshold=0.5 monitor=val/map_50
        model.max_detections=10 model.head_width=256 ~callbacks.drawings callbacks=[default,ema,gradient_norms]
        weighting=kendall model.on_anomaly=skip model.normalize=global
    """
    composed(*words.split())


def test_none_leaves_a_group_empty() -> None:
    config = composed("scheduler=none", "callbacks=none", "logger=none", "heads=none", "data/augmentation=none")
    assert [len(config[name]) for name in ("scheduler", "callbacks", "logger", "heads")] == [0, 0, 0, 0]
    assert config.data.augmentation is None


def test_output_dir_holds_everything() -> None:
    config = composed("output_dir=out", "callbacks=[default,ema,early_stopping]", "logger=[default,wandb]")
    plain = OmegaConf.to_container(config, resolve=True)
    folders = [
        plain["callbacks"]["best"]["dirpath"],
        plain["callbacks"]["last"]["dirpath"],
        plain["callbacks"]["drawings"]["directory"],
    ]
    folders += [logger["save_dir"] for logger in plain["logger"].values()]
    assert all(folder.split("/")[0] == "out" for folder in folders)
