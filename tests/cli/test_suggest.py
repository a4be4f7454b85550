"""What a user reads after a mistake on the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_centernet.cli.suggest import nearest
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("words", "answer", "code"),
    [
        ("fit trainer.max_epoch=3", "unknown key 'trainer.max_epoch'. Did you mean trainer.max_epochs", 2),
        ("fit lr=1e-3", "unknown key 'lr'. Did you mean optimizer.lr?", 2),
        ("fit optimzer=sgd", "Did you mean optimizer", 2),
        ("fit heads.wh.wieght=1", "Did you mean heads.wh.weight", 2),
        ("fit data=voc data.rot=x", "Did you mean data.root", 2),
        ("fit -m trainer.max_epoch=3,4", "Did you mean trainer.max_epochs", 2),
        ("fit optimizer=sdg", "optimizer=sdg: must be one of adam, adamw, sgd. Did you mean sgd?", 2),
        (
            "fit callbacks=[default,gradient_norm]",
            "ema, gradient_norms, kitti_results, learning_rate, none, progress. Did you mean gr",
            2,
        ),
        ("fit callbacks=[defalt]", "callbacks=defalt: must be one of checkpoints, coco_results, default", 2),
        ("fit trainer.max_epochs=ten", "trainer.max_epochs=ten: must be a number such as", 2),
        ("fit trainer.fast_dev_run=maybe", "must be true or false", 2),
        ("fit data.input_size=[", "cannot read", 2),
        ("fit backbone.name=é", "quote it: 'backbone.name=\"é\"'", 2),
        ("fti", "Did you mean 'fit'?", 2),
        ("", "usage", 2),
        ("fit --config-dir /nowhere", "'/nowhere' not found", 1),
        ("fit output_dir=/dev/null/x", "output_dir", 1),
        ("fit data=voc", "data.root: not set; add data.root=...", 1),
        ("fit data=coco", "data.train_annotations=... data.train_images=...", 1),
        ("fit data=voc data.root=/nowhere", "/nowhere", 1),
        ("fit ckpt_path=none.ckpt", "ckpt_path=none.ckpt: no such file", 1),
        ("fit seed=null", "seed: must be a whole number", 1),
        ("fit trainer.max_epochs=null", "OneCycleLR must know the end of the training: set trainer.max_epochs=30", 1),
        ("fit trainer.precision=bf16-true data.train_size=1", "trainer.precision=bf16-true: does not fit", 1),
        ("fit ckpt_path=last", "runs_dir=runs", 1),
        ("fit trainer.accelerator=tpus data.train_size=1 data.val_size=1", "trainer: ", 1),
        ("fit heads.wh.loss=gio data.train_size=1", "head `wh`: unknown loss `gio`: it can be l1", 1),
        (
            "fit heads.wh.loss=huber heads.wh.loss.beta=1 data.train_size=1",
            "no option `beta`: it takes delta. Did you mean `delta`?",
            1,
        ),
        ("fit data.input_size=[100,160] data.train_size=1", "[128,160]", 1),
        ("fit optimizer._target_=torch.optim.Adan", "torch.optim.Adan", 1),
        ("fit model._target_=torch.nn.Linear data.train_size=1", "model._target_", 1),
        ("validate", "ckpt_path=<file>", 1),
        ("predict", "ckpt_path=<file>", 1),
    ],
)
def test_mistakes_are_explained(run: Run, capsys: pytest.CaptureFixture, words: str, answer: str, code: int) -> None:
    assert run(*words.split()) == code
    message = capsys.readouterr().err
    assert answer in message
    assert "Traceback" not in message


def test_traceback_when_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_centernet.cli.TRACEBACK_WANTED", True)
    with pytest.raises(Exception, match="max_epoch"):
        run("fit", "trainer.max_epoch=3")


def test_suggestions_know_the_users_own_configs(run: Run, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    own = tmp_path / "josé (1)"
    (own / "data").mkdir(parents=True)
    (own / "data/mine.yaml").write_text("farms: 3\n")
    assert run("fit", "--config-dir", str(own), "data=mine", "data.farm=4") == 2
    assert "Did you mean data.farms" in capsys.readouterr().err
    assert run("fit", "--config-dir", str(own), "data=[mne,street]") == 2
    assert "Did you mean mine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "best"), [("batchsize", "data.batch_size"), ("data.batch_sise", "data.batch_size"), ("quux", None)]
)
def test_nearest(name: str, best: str | None) -> None:
    found = nearest(name, ["data.batch_size", "data.root", "optimizer.lr"])
    assert found[:1] == ([best] if best else [])


def test_questions_are_answered_without_torch() -> None:
    script = "import sys; from lightning_centernet.cli import main; main(); assert 'torch' not in sys.modules"
    start = time.perf_counter()
    for words in (["fit", "--cfg", "job"], ["fit", "--help"]):
        answer = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        assert "backbone" in answer.stdout
    assert time.perf_counter() - start < 20  # about one second; generous, because other tests may run beside
