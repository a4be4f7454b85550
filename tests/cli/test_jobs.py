"""The commands, run in this process on tiny data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from PIL import Image

from tests.cli.conftest import FEW, TINY, Run
from tests.cli.test_conf import CONF, composed
from tests.fakes import PICTURES, fake_pictures, pose_content, write_coco, write_voc
from tests.fakes_coco3d import write_nuscenes
from tests.fakes_kitti import write_kitti


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["state_dict"]


def test_fit_says_what_it_does_and_where_everything_is(run: Run, capsys: pytest.CaptureFixture) -> None:
    measured = ["+metrics.backend=pycocotools", "monitor=val/map_50"]
    assert run("fit", *TINY, *FEW, *measured, "trainer.max_epochs=1", "output_dir=out") == 0
    said, out = capsys.readouterr(), Path("out")
    best = next(out.glob("checkpoints/epoch_*.ckpt"))
    for expected in (
        "4 train, 2 val",
        "vehicle, pedestrian, cyclist",
        "hm 3, wh 2, reg 2",
        str(best),
        "checkpoints/last.ckpt",
        "out/drawings",
        "out/tensorboard",
        "out/csv",
        f"\n  python -m lightning_centernet predict ckpt_path={best} source=IMAGE_OR_FOLDER\n",
        f"\n  python -m lightning_centernet test ckpt_path={best} 'data.input_size=[64,64]' data.batch_size=2 "
        "data.num_workers=0 data.train_size=4 data.val_size=2 data.test_size=2 "
        "+metrics.backend=pycocotools monitor=val/map_50\n",
        "\n  tensorboard --logdir out/tensorboard\n",
        "epoch 1 of 1",
    ):
        assert expected in said.out
    assert "Warning" not in said.err
    assert sum(line.startswith("`Trainer.fit` stopped") for line in said.out.splitlines()) == 1
    assert len(list(out.glob("drawings/epoch_000/*.png"))) == 2
    metrics = (out / "csv/metrics.csv").read_text()
    assert "val/map" in metrics
    assert "train/hm" in metrics  # although the epoch has fewer steps than trainer.log_every_n_steps


def test_last_resumes_as_if_nothing_had_happened(run: Run) -> None:
    words = [*TINY, *FEW]
    assert run("fit", *words, "trainer.max_epochs=2", "output_dir=whole/run") == 0
    assert run("fit", *words, "trainer.max_epochs=1", "runs_dir=parts", "output_dir=parts/a") == 0
    assert run("fit", *words, "trainer.max_epochs=2", "runs_dir=parts", "output_dir=parts/b", "ckpt_path=last") == 0
    whole, resumed = (weights(Path(folder) / "checkpoints/last.ckpt") for folder in ("whole/run", "parts/b"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_weights_of_another_model_are_taken_where_they_fit(
    run: Run, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [*TINY, *FEW, "debug=fast", "heads=ctdet_ltrb", "model.head_width=8", "backbone.neck_channels=32"]
    assert run("fit", *words, f"init_from={trained}") == 0
    table = capsys.readouterr().out
    for row in ("loaded", "skipped: another shape", "missing in the file", "unexpected in the file", "ltrb", "wh"):
        assert row in table
    Path("notes.txt").write_text("junk\n")
    assert run("fit", *words, "init_from=notes.txt") == 1
    assert "notes.txt: cannot be read as a checkpoint" in capsys.readouterr().err
    torch.save({"state_dict": {"other": torch.zeros(1)}}, "other.ckpt")
    assert run("fit", *words, "init_from=other.ckpt") == 1
    assert "none of its 1 tensors fits" in capsys.readouterr().err
    assert run("fit", *words, "init_from=other.ckpt", f"ckpt_path={trained}") == 1
    assert "drop one" in capsys.readouterr().err


def test_only_a_training_is_resumed(run: Run, trained: Path, capsys: pytest.CaptureFixture) -> None:
    Path("notes.txt").write_text("junk\n")
    torch.save({"state_dict": weights(trained)}, "weights.ckpt")
    for file, answer in {
        "notes.txt": "cannot be read as a checkpoint",
        "weights.ckpt": "init_from=weights.ckpt",
    }.items():
        assert run("fit", *TINY, *FEW, f"ckpt_path={file}") == 1
        assert answer in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "test"])
def test_checkpoint_is_measured(run: Run, trained: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    few = [*FEW, "data.num_workers=0", "trainer.accelerator=cpu"]  # not its size: the checkpoint knows it
    assert run(command, *few, f"ckpt_path={trained}") == 0
    rows = capsys.readouterr().out
    for metric in ("map", "map_50", "map_vehicle", "tot", "hm"):
        assert f"{'val' if command == 'validate' else 'test'}/{metric} " in rows


def test_classes_must_be_the_checkpoints(run: Run, trained: Path, capsys: pytest.CaptureFixture) -> None:
    root = write_voc(Path("voc"))
    assert run("validate", "data=voc", f"data.root={root}", f"ckpt_path={trained}", "data.num_workers=0") == 1
    message = capsys.readouterr().err
    assert "vehicle, pedestrian, cyclist" in message
    assert "bird, cat, dog" in message


@pytest.mark.parametrize("source", ["voc/JPEGImages", "voc/JPEGImages/*.png", "voc/JPEGImages/many_000.png"])
def test_predict(run: Run, trained: Path, capsys: pytest.CaptureFixture, source: str) -> None:
    folder = write_voc(Path("voc"), {"train": fake_pictures(3)}) / "JPEGImages"
    (folder / "broken.png").write_bytes((folder / "many_000.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("not an image")
    words = ["threshold=0", "output_dir=found", "data.batch_size=2", "data.num_workers=0", "trainer.accelerator=cpu"]
    assert run("predict", *words, f"ckpt_path={trained}", f"source={source}") == 0
    said, expected = capsys.readouterr(), 1 if source.endswith("many_000.png") else 3
    assert ("1 of 4 images cannot be read" in said.out) == (expected == 3)
    listing = json.loads(Path("found/images.json").read_text())
    names = [Path(image["file_name"]).name for image in listing["images"]]
    assert names == [f"many_{number:03d}.png" for number in range(expected)]
    results = json.loads(Path("found/predictions.json").read_text())
    assert {result["image_id"] for result in results} == {image["id"] for image in listing["images"]}
    assert {result["category_id"] for result in results} <= {category["id"] for category in listing["categories"]}
    assert len(list(Path("found/drawings").iterdir())) == expected


def test_any_file_name(run: Run, trained: Path, tmp_path: Path) -> None:
    checkpoint, picture = tmp_path / "josé/epoch=3.ckpt", tmp_path / "it's ~ (1), [2].png"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(trained.read_bytes())
    Image.new("RGB", (64, 48)).save(picture)
    assert run("predict", f"ckpt_path={checkpoint}", f"source={picture}", "output_dir=é, b", "trainer=cpu") == 0
    listing = json.loads(Path("é, b/images.json").read_text())
    assert [image["file_name"] for image in listing["images"]] == [str(picture)]


@pytest.mark.parametrize(("words", "precision"), [([], "32-true"), (["trainer.precision=bf16-mixed"], "bf16-mixed")])
def test_predict_does_not_take_the_precision_of_a_training(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], precision: str
) -> None:
    used = []
    monkeypatch.setattr(Trainer, "predict", lambda trainer, *_: used.append(trainer.precision))
    Image.new("RGB", (64, 48)).save("a.png")
    run("predict", f"ckpt_path={trained}", "source=a.png", "trainer=cpu", *words)
    assert used == [precision]


def test_predict_without_boxes(run: Run, trained: Path, capsys: pytest.CaptureFixture) -> None:
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["hyper_parameters"]["heads"] = {"hm": checkpoint["hyper_parameters"]["heads"]["hm"]}
    left = {name: value for name, value in checkpoint["state_dict"].items() if not {"wh", "reg"} & {*name.split(".")}}
    torch.save(checkpoint | {"state_dict": left}, "peaks.ckpt")
    Image.new("RGB", (64, 48)).save("a.png")
    assert run("predict", "ckpt_path=peaks.ckpt", "source=a.png", "trainer=cpu") == 1
    assert "its heads hm give no boxes" in capsys.readouterr().err


def test_predict_without_pictures(run: Run, trained: Path, capsys: pytest.CaptureFixture) -> None:
    Path("empty").mkdir()
    for source in ("empty", "nowhere"):
        assert run("predict", f"ckpt_path={trained}", f"source={source}", "trainer.accelerator=cpu") == 1
        assert f"source={source}: " in capsys.readouterr().err


def test_inspect(run: Run, capsys: pytest.CaptureFixture) -> None:
    root = write_voc(Path("voc"), {"train": PICTURES[:3], "val": PICTURES[3:]})
    assert (
        run(
            "inspect",
            "data=voc",
            f"data.root={root}",
            "data.test_split=null",
            "data.input_size=[64,96]",
            "output_dir=look",
        )
        == 0
    )
    assert "train: 3 pictures" in capsys.readouterr().out
    assert len(list(Path("look/drawings/train").iterdir())) == 3
    (root / "JPEGImages/pic_a.png").write_bytes(b"")
    assert run("inspect", "data=voc", f"data.root={root}", "data.test_split=null", "output_dir=look") == 1
    assert "problem" in capsys.readouterr().err


def voc_words(folder: Path) -> list[str]:
    pictures = fake_pictures(4)
    splits = dict.fromkeys(("train", "trainval", "val", "test"), pictures)
    return [f"data.root={write_voc(folder / 'voc', splits)}"]


def coco_words(folder: Path) -> list[str]:
    pictures = fake_pictures(4)
    annotations, images = write_coco(folder, pictures, pose_content(pictures))
    return [f"data.train_annotations={annotations}", f"data.train_images={images}"]


def nuscenes_words(folder: Path) -> list[str]:
    annotations, images = write_nuscenes(folder)
    return [f"data.train_annotations={annotations}", f"data.train_images={images}"]


def kitti_words(folder: Path) -> list[str]:
    return [f"data.root={write_kitti(folder / 'kitti')}", "data.train_split=train", "data.val_split=val"]


def street_words(folder: Path) -> list[str]:
    return ["data.train_size=2", "data.val_size=2"]


def fake_data(recipe: str) -> Callable[[Path], list[str]]:
    data = composed(f"experiment={recipe}").data
    words = {"coco_data": coco_words, "voc_data": voc_words, "kitti_data": kitti_words, "street_data": street_words}
    return nuscenes_words if "trailer" in (data.get("classes") or ()) else words[data._target_.rpartition(".")[2]]


@pytest.mark.parametrize("recipe", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
def test_recipe_steps_once(run: Run, tmp_path: Path, recipe: str) -> None:
    variant = "defaults: [" in (CONF / f"experiment/{recipe}.yaml").read_text()  # of one whose own backbone is tried
    words = [*TINY, *["backbone.name=resnet10t"] * variant, *fake_data(recipe)(tmp_path)]
    assert run("fit", f"experiment={recipe}", "debug=fast", *words) == 0


def test_users_own_configs_and_parts(
    run: Run, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own_parts.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, width):\n"
        "        super().__init__(nn.Conv2d(3, width, 4, 4), nn.ReLU())\n"
    )
    for group, text in {
        "backbone": "_target_: own_parts.Net\nwidth: 6\n",
        "data": "defaults: [street]\ntrain_size: 3\n",
    }.items():
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / "mine.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["data.batch_size=2", "data.num_workers=0", "trainer.accelerator=cpu", "data.input_size=[64,64]", *FEW[1:4]]
    words = ["--config-dir=own", "backbone=mine", "data=mine", *words]
    assert run("fit", *words, "trainer.max_epochs=1", "output_dir=out") == 0
    # The checkpoint cannot rebuild what was made by hand; the config can.
    assert "--config-dir=own backbone=mine source=IMAGE_OR_FOLDER" in capsys.readouterr().out
    assert run("validate", *words, "ckpt_path=out/checkpoints/last.ckpt") == 0
