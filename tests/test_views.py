"""Test-time augmentation equals doing by hand what it says."""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch

from lightning_centernet import UserError, decode
from lightning_centernet.data import Sample, Transform, coco_data
from lightning_centernet.data.collate import collate
from lightning_centernet.geometry.suppression import gaussian_decay, suppress
from lightning_centernet.heads import STANDARD
from lightning_centernet.result_files import CocoResults
from lightning_centernet.testing import FakeData, fake_batch
from lightning_centernet.views import Views, detect, see, view_sizes
from tests.test_docs import run_python
from tests.tiny import DETECTION, SIZE, TinyBackbone, logged, quiet_trainer, tiny_model
from tests.waiting import as_on_a_device

NAMES = ("nose", "left_eye", "right_eye", "left_foot", "right_foot")
SKELETON = {"names": NAMES, "sigmas": [0.1] * 5}
POSE = {"hm": 2, "wh": 2, "reg": 2, "hps": 10, "hm_hp": 5, "hp_offset": 2}
ALL = {name: standard.channels or {"hps": 10, "hm_hp": 5}.get(name, 3) for name, standard in STANDARD.items()}
SCALES = (0.5, 1.0, 1.5)
pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")


def lively(heads=DETECTION, **options):
    """A model whose outputs differ from place to place, and whose boxes overlap."""
    model = tiny_model(heads, **{"skeleton": SKELETON} | options).eval()
    generator = torch.Generator().manual_seed(1)
    for name, layers in model.network.stacks[0].items():
        torch.nn.init.normal_(layers[2].weight, std=1.0, generator=generator)
        if name == "wh":
            torch.nn.init.constant_(layers[2].bias, 9.0)
    return model


def seen_in_the_mirror(name, values):
    """What outputs (B, C, h, w) for mirrored images say of the images, with numpy, as each head's definition says."""
    there = values.numpy()[..., ::-1].astype(np.float64)
    if name in ("reg", "hp_offset", "amodel_offset", "tracking"):
        there[:, 0] = 1 - there[:, 0]
    elif name in ("ltrb", "ltrb_amodal"):
        there = np.stack([1 - there[:, 2], there[:, 1], 1 - there[:, 0], there[:, 3]], 1)
    elif name == "hps":
        there = there[:, [0, 1, 4, 5, 2, 3, 8, 9, 6, 7]]
        there[:, ::2] = 1 - there[:, ::2]
    elif name == "hm_hp":
        there = there[:, [0, 2, 1, 4, 3]]
    elif name in ("rot", "rot_sec", "velocity"):
        there[:, [0] if name == "velocity" else [2, 6]] *= -1
    return there


def by_hand(outputs, mirrored):
    """Average the outputs for images and for mirrored images."""
    means = {}
    for name in outputs:
        here, there = outputs[name].numpy().astype(np.float64), seen_in_the_mirror(name, mirrored[name])
        if name in ("hm", "hm_hp", "nuscenes_att"):
            p = (1 / (1 + np.exp(-here)) + 1 / (1 + np.exp(-there))) / 2
            means[name] = np.log(p / (1 - p))
        elif name in ("dep", "dep_sec"):
            means[name] = -np.log((np.exp(-here) + np.exp(-there)) / 2)
        else:
            means[name] = (here + there) / 2
    return {name: torch.from_numpy(mean).float() for name, mean in means.items()}


class TestFlip:
    @pytest.mark.parametrize("heads", [DETECTION, POSE, ALL], ids=["detection", "pose", "all"])
    @torch.no_grad()
    def test_equals_averaging_by_hand(self, heads):
        model, image = lively(heads), fake_batch(heads)["image"]
        model.views = Views(flip=True)
        found = detect(model, {"image": image})
        expected = by_hand(model(image)[-1], model(image.flip(3))[-1])
        for name, mean in expected.items():
            torch.testing.assert_close(found.outputs[name], mean, rtol=1e-4, atol=1e-4)
        detections = decode(expected, model.heads, k=20)
        torch.testing.assert_close(found.detections["boxes"], detections["boxes"], rtol=0, atol=1e-3)
        assert not torch.allclose(found.outputs["hm"], model(image)[-1]["hm"], atol=0.01)

    @torch.no_grad()
    def test_a_mirrored_image_has_the_mirrored_objects(self):
        """Whatever the network is: the two views are the same two."""
        model, image = lively(POSE), fake_batch(POSE, batch_size=3)["image"]
        model.views = Views(flip=True)
        images, mirrored = (detect(model, {"image": each}).images for each in (image, image.flip(3)))
        for here, there in zip(images, mirrored, strict=True):
            torch.testing.assert_close(here["scores"], there["scores"], rtol=0, atol=1e-5)
            width = torch.tensor(float(SIZE[1]))
            x1, y1, x2, y2 = there["boxes"].unbind(-1)
            torch.testing.assert_close(
                here["boxes"], torch.stack([width - x2, y1, width - x1, y2], -1), atol=1e-3, rtol=0
            )
            joints = there["keypoints"][:, [0, 2, 1, 4, 3]]
            joints = torch.stack([width - joints[..., 0], joints[..., 1]], -1)
            torch.testing.assert_close(here["keypoints"], joints, atol=1e-3, rtol=0)

    @torch.no_grad()
    def test_in_half_precision_the_averages_are_not(self):
        model, image = lively(), fake_batch(DETECTION)["image"]
        model.views = Views(flip=True)
        with torch.autocast("cpu", torch.bfloat16):
            found = detect(model, {"image": image})
        expected = detect(model, {"image": image})
        assert all(output.dtype == torch.float32 for output in found.outputs.values())
        for name, output in expected.outputs.items():
            torch.testing.assert_close(found.outputs[name], output, rtol=0, atol=0.2)
        whole = model(image)[-1], model(image.flip(3))[-1]
        halves = [{name: output.bfloat16() for name, output in outputs.items()} for outputs in whole]
        given = iter(halves)
        model.forward = lambda _: [next(given)]
        means = by_hand(*({name: output.float() for name, output in half.items()} for half in halves))
        for name, output in detect(model, {"image": image}).outputs.items():
            torch.testing.assert_close(output, means[name], rtol=1e-4, atol=1e-4)

    def test_joints_without_a_skeleton(self):
        model = lively(POSE, skeleton=None)
        model.views = Views(flip=True)
        with pytest.raises(UserError, match="head `hps` has 5 joints, but nothing says which of them change places"):
            detect(model, {"image": fake_batch(POSE)["image"]})

    def test_losses_are_those_of_the_images(self):
        data, scores = FakeData(POSE), []
        for flip in (False, True):
            model, trainer = lively(POSE), quiet_trainer()
            model.views = Views(flip=flip)
            trainer.test(model, data, verbose=False)
            assert logged(trainer, "test") == {"tot", *POSE}
            scores.append(trainer.callback_metrics)
        torch.testing.assert_close(*scores)


def views_of(data, model, **options):
    model.views = Views(**options)
    data.show_at(view_sizes(model, data.input_size))
    return data


def predictions(model, loader):
    return [image for batch in quiet_trainer().predict(model, loader) for image in batch]


class TestScales:
    @pytest.mark.parametrize("flip", [False, True])
    @pytest.mark.parametrize("heads", [DETECTION, {"hm": 3} | {name: POSE[name] for name in POSE if name != "hm"}])
    def test_equals_merging_by_hand(self, coco, heads, flip):
        """Each size by itself, with a loader of its own, then suppression in each image."""
        model = lively(heads, input_size=(64, 96))
        data = views_of(coco_data(**coco), model, flip=flip, scales=SCALES)
        merged = predictions(model, data.val_dataloader())
        model.views = Views(flip=flip)
        sizes = [(64, 96), (32, 48), (96, 144)]
        alone = [predictions(model, coco_data(**coco | {"input_size": size}).val_dataloader()) for size in sizes]
        assert len(merged) == 4
        for image, *others in zip(merged, *alone, strict=True):
            every = {name: torch.cat([other[name] for other in others]) for name in image if name != "image_id"}
            boxes, scores, labels = (every[name].unsqueeze(0) for name in ("boxes", "scores", "labels"))
            (taken,), (scores,) = suppress(boxes, scores, labels, 20, partial(gaussian_decay, sigma=0.5))
            expected = {name: values[taken] for name, values in every.items()}
            if "keypoint_scores" in expected:  # of a joint without a peak it is the object's
                own = expected["keypoint_scores"] == expected["scores"].unsqueeze(-1)
                expected["keypoint_scores"] = torch.where(own, scores.unsqueeze(-1), expected["keypoint_scores"])
            for name, values in (expected | {"scores": scores}).items():
                torch.testing.assert_close(image[name], values, rtol=1e-4, atol=1e-3)
            assert {int(image["image_id"])} == {int(other["image_id"]) for other in others}
            assert len(set((taken // 20).tolist())) > 1, "the sizes should differ, or nothing is tested"

    def test_batch_of_many_is_many_of_one(self, coco):
        model = lively(input_size=(64, 96))
        found = [
            predictions(
                model, views_of(coco_data(**coco | {"batch_size": size}), model, scales=SCALES).val_dataloader()
            )
            for size in (1, 4)
        ]
        for one, other in zip(*found, strict=True):
            for name in one:
                torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-3)

    def test_slots_that_nothing_fills(self, coco):
        """More are asked for than there are cells."""
        model = lively(input_size=(32, 32), max_detections=400)
        data = views_of(coco_data(**coco | {"input_size": (32, 32)}), model, scales=(1, 0.5), flip=True)
        for image in predictions(model, data.test_dataloader()):
            peaks = image["scores"] > 0
            assert 0 < peaks.sum() < 400
            assert (image["scores"].diff() <= 0).all()
            assert all(values.isfinite().all() for values in image.values())

    def test_metrics_and_result_files_are_of_the_merged(self, coco, tmp_path):
        model, found = lively(input_size=(64, 96)), []
        data = views_of(coco_data(**coco), model, scales=SCALES)
        model.metrics["test"].update = lambda images, truth: found.extend(images)
        quiet_trainer(callbacks=[CocoResults(tmp_path)]).test(model, data, verbose=False)
        merged = predictions(model, data.test_dataloader())
        for image, expected in zip(found, merged, strict=True):
            torch.testing.assert_close(image["boxes"], expected["boxes"])
        written = [result["score"] for result in json.loads((tmp_path / "bbox.json").read_text())]
        torch.testing.assert_close(
            torch.tensor(written), torch.cat([image["scores"] for image in merged]), atol=1e-4, rtol=0
        )

    def test_larger_views_have_the_pictures_own_pixels(self):
        picture = np.random.default_rng(0).integers(0, 255, (128, 192, 3), dtype=np.uint8)
        nothing = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64), "ignore": np.zeros(0, bool)}
        transform = Transform((64, 96), view_sizes=[(128, 192), (32, 64)])
        batch = collate([transform(Sample(picture, nothing, 0, "a"))] * 2, max_objects=0)
        assert [tuple(view.shape) for view in batch["views"]] == [(2, 3, 128, 192), (2, 3, 32, 64)]
        assert np.array_equal(batch["views"][0][1].permute(1, 2, 0).numpy(), picture)
        assert batch["view_transforms"][1, 1].tolist() == [[0.25, 0, 8], [0, 0.25, 0]]

    def test_joints_without_a_peak_keep_the_score_of_their_object(self):
        boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 8]]])
        scores, joints = torch.tensor([[0.9, 0.8]]), torch.tensor([[[0.9, 0.3], [0.8, 0.7]]])
        found = {"boxes": boxes, "scores": scores, "labels": torch.zeros(1, 2, dtype=torch.int64)}
        merged = Views().merge(found | {"keypoint_scores": joints}, k=2)
        (first, second), lowered = merged["keypoint_scores"][0], 0.8 * np.exp(-(0.8**2) / 0.5)
        torch.testing.assert_close(first, joints[0, 0])
        torch.testing.assert_close(second, torch.tensor([lowered, 0.7], dtype=torch.float32))
        assert second[0] == merged["scores"][0, 1]

    def test_hard(self):
        boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]]])
        found = {"boxes": boxes, "scores": torch.tensor([[0.5, 0.9, 0.4]]), "labels": torch.zeros(1, 3).long()}
        merged = Views(nms="hard", overlap=0.6).merge(found, k=2)
        assert merged["boxes"].tolist() == [[[1, 0, 11, 10], [50, 50, 60, 60]]]
        torch.testing.assert_close(
            Views(nms="hard", overlap=0.9).merge(found, k=2)["scores"], torch.tensor([[0.9, 0.5]])
        )


@pytest.mark.parametrize(("options", "looks"), [({}, 1), ({"flip": True}, 2), ({"flip": True, "scales": SCALES}, 6)])
def test_looks_at_each_image(coco, options, looks):
    """Off it costs nothing, and a test looks no second time for the loss."""
    model = lively(input_size=(64, 96))
    data = views_of(coco_data(**coco | {"batch_size": 4}), model, **options)
    counted, forward = itertools.count(), model.forward
    model.forward = lambda image: (next(counted), forward(image))[1]
    quiet_trainer().predict(model, data.val_dataloader())
    assert next(counted) == looks
    quiet_trainer().test(model, data, verbose=False)
    assert next(counted) == 2 * looks + 1


def test_nothing_waits_for_the_device(monkeypatch):
    model, image = lively(POSE), fake_batch(POSE)["image"]
    model.views = Views(flip=True)
    with torch.no_grad(), as_on_a_device(monkeypatch):
        model.views.merge(decode(see(model, image), model.heads), k=20)


def test_positions_stay_on_the_host_in_full_precision():
    batch = {
        "image": torch.zeros(1, 3, 8, 8),
        "views": [torch.zeros(1, 3, 4, 4)],
        "view_transforms": torch.eye(3).double(),
    }
    moved = tiny_model().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert [moved["image"].is_meta, moved["views"][0].is_meta, moved["view_transforms"].is_meta] == [True, True, False]


def test_docs():
    names = run_python("test_time.md")
    trainer = quiet_trainer(limit_test_batches=1)
    trainer.test(names["model"], names["data"], verbose=False)
    assert "test/map" in trainer.callback_metrics


def test_sizes_suit_the_network():
    model = tiny_model(backbone={"name": "test_resnet", "neck_channels": 8}, input_size=(64, 96))
    assert model.network.multiple == 32
    model.views = Views(scales=(0.25, 1, 1.3, 2))
    assert view_sizes(model, (64, 96)) == [(32, 32), (96, 128), (128, 192)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"flip": "yes"}, "test_time.flip=yes: must be true or false"),
            ({"scales": [0.5, 2]}, r"test_time.scales=\[0.5, 2\]: must be positive numbers, one of them 1"),
            ({"scales": [1, 1.0]}, "one of them 1"),
            ({"scales": [1, -2]}, "one of them 1"),
            ({"scales": ["a", 1]}, "one of them 1"),
            ({"scales": 2}, "test_time.scales=2"),
            ({"nms": "mean"}, "test_time.nms=mean: must be soft or hard"),
            ({"overlap": 0}, "test_time.overlap=0: must be a positive number"),
        ],
    )
    def test_values(self, options, message):
        with pytest.raises(UserError, match=message):
            Views(**options)

    @pytest.mark.parametrize(
        ("heads", "message"),
        [
            ({"hm": 3, "wh": 2, "dep": 1, "rot": 8}, "this model has the head rot, dep: leave it out"),
            ({"hm": 3, "reg": 2}, "this model gives no boxes: leave it out"),
        ],
    )
    def test_several_scales_of_other_tasks(self, heads, message):
        model = tiny_model(heads)
        model.views = Views(scales=(1, 2))
        with pytest.raises(UserError, match=f"test_time.scales: several are for 2D boxes and poses, but {message}"):
            view_sizes(model, SIZE)
        model.views = Views(flip=True)
        assert view_sizes(model, SIZE) == []

    def test_batches_without_the_views(self):
        model = tiny_model()
        model.views = Views(scales=(1, 2))
        with pytest.raises(
            UserError, match=r"looks at the scales \[1, 2\], but the batch has 0 views beside the image"
        ):
            detect(model, {"image": torch.zeros(1, 3, *SIZE)})

    def test_network_of_one_size(self):
        class Positions(TinyBackbone):
            def __init__(self):
                super().__init__()
                self.places = torch.nn.Parameter(torch.zeros(8, 24, 32))

            def forward(self, image):
                return super().forward(image) + self.places

        model = tiny_model(backbone=Positions())
        model.views = Views(scales=(1, 2))
        with pytest.raises(UserError, match=r"Positions fails on an image of shape \(1, 3, 192, 256\)"):
            view_sizes(model, SIZE)
