"""Options of a loss on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from lightning_centernet import CenterNet
from lightning_centernet._conf import NAME as CONF
from lightning_centernet.cli.arguments import UsageError
from lightning_centernet.cli.loss_options import join_loss_options
from tests.cli.conftest import FEW, TINY, Run


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("heads.wh.loss=smooth_l1 heads.wh.loss.beta=0.5", "heads.wh.loss={name:smooth_l1,beta:0.5}"),
        ("heads.wh.loss.beta=0.5 heads.wh.loss=smooth_l1", "heads.wh.loss={beta:0.5,name:smooth_l1}"),
        ("heads.wh.loss.beta=0.5", "heads.wh.loss={name:l1,beta:0.5}"),
        ("heads=ctdet_ltrb heads.ltrb.loss.beta=0.5", "heads=ctdet_ltrb heads.ltrb.loss={name:l1,beta:0.5}"),
        ("+heads.hps.loss=oks +heads.hps.loss.sigmas=[0.1,0.2]", "+heads.hps.loss={name:oks,sigmas:[0.1,0.2]}"),
        (
            "-m heads.wh.loss=huber heads.wh.loss.delta=1,2 a=1,2",
            "-m a=1,2 heads.wh.loss={name:huber,delta:1},{name:huber,delta:2}",
        ),
        (
            "-m heads.wh.loss=huber,wing heads.wh.loss.x=choice(1,2)",
            "-m heads.wh.loss={name:huber,x:1},{name:huber,x:2},{name:wing,x:1},{name:wing,x:2}",
        ),
        (
            "heads.wh.loss.a=1 heads.reg.loss=huber heads.reg.loss.b=2 mode=fit",
            "mode=fit heads.wh.loss={name:l1,a:1} heads.reg.loss={name:huber,b:2}",
        ),
    ],
)
def test_options_join_the_name(words: str, joined: str) -> None:
    assert join_loss_options(words.split()) == joined.split()


@pytest.mark.parametrize(
    "words", ["heads.wh.loss=giou", "-m heads.wh.loss=l1,l2", "~heads.wh.loss", "heads.wh.loss={name: iou, mode: log}"]
)
def test_other_words_stay(words: str) -> None:
    assert join_loss_options([words]) == [words]


def test_options_of_the_config(tmp_path: Path) -> None:
    """Those that no word changes stay."""
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads/mine.yaml").write_text("wh: {loss: {name: wing, width: 5, curvature: 1}}")
    words = [f"--config-dir={tmp_path}", "heads=mine", "heads.wh.loss.width=7"]
    assert join_loss_options(words) == [*words[:2], "heads.wh.loss={name:wing,width:7,curvature:1}"]


def test_options_without_a_loss() -> None:
    with pytest.raises(UsageError, match=r"heads.no.loss.beta=0.5: name the loss too, such as heads.no.loss=smooth_l1"):
        join_loss_options(["heads.no.loss.beta=0.5"])


def test_hydra_reads_the_result() -> None:
    with initialize_config_module(CONF, version_base="1.3"):
        words = join_loss_options(["heads.wh.loss.beta=0.5", "heads.wh.loss=smooth_l1"])
        heads = OmegaConf.to_container(compose("config", overrides=words).heads)
    assert heads["wh"]["loss"] == {"name": "smooth_l1", "beta": 0.5}


@pytest.mark.parametrize(
    ("words", "loss"),
    [
        ("heads.wh.loss=smooth_l1 heads.wh.loss.beta=0.5", {"name": "smooth_l1", "beta": 0.5}),
        ("heads.wh.loss=giou heads.wh.weight=5 heads.hm.focal=quality", "giou"),
    ],
)
def test_training_with_another_loss(run: Run, words: str, loss: object) -> None:
    """The checkpoint alone brings it back."""
    assert run("fit", *TINY, *FEW, *words.split(), "trainer.max_epochs=1", "output_dir=out") == 0
    file = "out/checkpoints/last.ckpt"
    assert torch.load(file, weights_only=True)["hyper_parameters"]["heads"]["wh"]["loss"] == loss
    model = CenterNet.load_from_checkpoint(file)
    assert model.criterion.heads["wh"].loss == loss
    assert run("validate", *TINY, *FEW, f"ckpt_path={file}") == 0
