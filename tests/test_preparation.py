"""What happens to a batch on the device, and that a step neither waits for the host nor sends it anything."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torchvision.transforms import v2

from lightning_centernet import encode, standard_heads
from lightning_centernet.heads import STANDARD
from lightning_centernet.module import IMAGENET_MEAN, IMAGENET_STD
from lightning_centernet.preparation import denormalize, normalize, prepare
from lightning_centernet.testing import FakeData, fake_batch
from tests.tiny import DETECTION, SIZE, quiet_trainer, tiny_model
from tests.waiting import Recorder

NORMALIZATION = IMAGENET_MEAN, IMAGENET_STD
HEADS = standard_heads(DETECTION)
ALL = {name: standard.channels or {"hps": 10, "hm_hp": 5}.get(name, 3) for name, standard in STANDARD.items()}


def picture(*shape, seed=0):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def annotated(batch_size=2):
    boxes = torch.tensor([[8.0, 8, 40, 24], [60, 20, 90, 70], [10, 60, 30, 90]]).expand(batch_size, -1, -1)
    labels = torch.tensor([0, 1, 2]).expand(batch_size, -1)
    mask = torch.tensor([True, True, False]).expand(batch_size, -1)
    return {"boxes": boxes, "labels": labels, "mask": mask, "ignore": ~mask}


class TestNormalize:
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_equals_torchvision(self, memory_format):
        image = picture(2, 3, 17, 23).contiguous(memory_format=memory_format)
        expected = v2.Normalize(*map(list, NORMALIZATION))(v2.ToDtype(torch.float32, scale=True)(image))
        torch.testing.assert_close(normalize(image, *NORMALIZATION), expected, rtol=1e-5, atol=2e-6)

    def test_color_comes_first(self):
        image = picture(2, 3, 17, 23)
        color = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
        changed = torch.einsum("bij,bjhw->bihw", color[:, :, :3], image / 255) + color[:, :, 3, None, None]
        expected = v2.Normalize(*map(list, NORMALIZATION))(changed)
        torch.testing.assert_close(normalize(image, *NORMALIZATION, color), expected, rtol=1e-5, atol=1e-5)

    def test_identity(self):
        image, identity = picture(2, 3, 17, 23), torch.eye(3, 4).expand(2, -1, -1)
        torch.testing.assert_close(normalize(image, *NORMALIZATION, identity), normalize(image, *NORMALIZATION))

    def test_denormalize_is_the_inverse(self):
        every_value = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
        assert torch.equal(denormalize(normalize(every_value, *NORMALIZATION), *NORMALIZATION), every_value)
        assert torch.equal(tiny_model().denormalize(normalize(every_value, *NORMALIZATION)), every_value)

    def test_denormalize_stays_in_range(self):
        assert denormalize(torch.tensor([-1e4, 1e4]).view(2, 1, 1, 1).expand(-1, 3, 1, 1), *NORMALIZATION).unique(
        ).tolist() == [0, 255]  # fmt: skip


class TestPrepare:
    def test_annotations_are_encoded(self):
        batch = {"image": picture(2, 3, *SIZE), "annotations": annotated()}
        prepared = prepare(batch, HEADS, 4, *NORMALIZATION)
        for name, value in encode(annotated(), HEADS, (24, 32)).items():
            assert torch.equal(prepared[name], value)
        assert set(batch) == {"image", "annotations"}
        assert batch["image"].dtype == torch.uint8

    def test_given_targets_stay(self):
        given = fake_batch(DETECTION)
        prepared = prepare(given | {"annotations": annotated()}, HEADS, 4, *NORMALIZATION)
        for name, value in given.items():
            assert prepared[name] is value

    def test_float_images_stay(self):
        image = torch.randn(2, 3, *SIZE)
        assert prepare({"image": image}, HEADS, 4, *NORMALIZATION)["image"] is image
        assert prepare({"input": image}, HEADS, 4, *NORMALIZATION)["image"] is image

    @pytest.mark.parametrize("stride", [2, 8])
    def test_grid_of_the_stride(self, stride):
        batch = {"image": picture(2, 3, 64, 96), "annotations": annotated()}
        prepared = prepare(batch, HEADS, stride, *NORMALIZATION)
        assert prepared["hm"].shape == (2, 3, 64 // stride, 96 // stride)


class TestNoWaiting:
    @pytest.mark.parametrize("action", ["item", "nonzero", "mask", "send", "branch"])
    def test_recorder(self, action):
        values = torch.arange(3)
        with Recorder() as recorder:
            if action == "branch":
                assert not (values > 7).any()
            else:
                {"item": values[0].item, "nonzero": values.nonzero, "mask": lambda: values[values > 1],
                 "send": lambda: values.new_tensor([1, 2])}[action]()  # fmt: skip
        assert recorder.waits

    @pytest.mark.parametrize("heads", [DETECTION, ALL], ids=["detection", "all"])
    def test_training_step(self, heads):
        """Forward, loss, logging, backward: in a trainer, for only there `self.log` does its work."""
        recorders = []

        class Watched(type(tiny_model(heads))):
            def training_step(self, batch, batch_idx):
                with Recorder() as recorder:
                    loss = super().training_step(batch, batch_idx)
                    loss.backward(retain_graph=True)
                recorders.append(recorder.waits)
                return loss

        quiet_trainer().fit(tiny_model(heads, kind=Watched), FakeData(heads, batches=3))
        assert recorders[1:] == [Counter()] * 2  # in the first step Lightning makes the sums it logs with
        assert set(recorders[0]) <= {"lift_fresh"}

    def test_prepare_on_a_device(self):
        """On the meta device nothing can be read back, and windows are not painted on the host."""
        heads = standard_heads({"hm": 3, "wh": 2, "reg": 2, "ltrb": 4, "ltrb_amodal": 4, "dim": 3})
        annotations = annotated() | {"dimensions": torch.ones(2, 3, 3)}
        annotations = {name: value.to("meta") for name, value in annotations.items()}
        batch = {"image": picture(2, 3, *SIZE).to("meta"), "annotations": annotations}
        with Recorder() as recorder:
            prepared = prepare(batch, heads, 4, *NORMALIZATION)
        assert not recorder.callers
        assert {value.device.type for name, value in prepared.items() if name != "annotations"} == {"meta"}
