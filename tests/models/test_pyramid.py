"""timm models as backbones."""

from __future__ import annotations

import pytest
import timm
import torch

from lightning_centernet import UserError
from lightning_centernet.models import PyramidBackbone
from lightning_centernet.models.probe import probe


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet10t", (64, 96)),
        ("mobilenetv4_conv_small", (64, 96)),
        ("convnext_atto", (64, 96)),
        ("test_vit", (160, 160)),  # a transformer of one size: feature maps of stride 16
        ("swin_tiny_patch4_window7_224", (64, 96)),  # channels last
    ],
)
def test_any_model_gives_stride_four(name, size):
    backbone = PyramidBackbone(name, neck_channels=16, input_size=size)
    assert backbone.multiple in (16, 32)
    features = probe(backbone, size)
    assert features.channels == (16,)
    assert features.stride == 4


def test_every_parameter_of_the_neck_learns():
    backbone = PyramidBackbone("resnet10t", neck_channels=8)
    backbone(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert len(backbone.laterals) == 4
    assert all(lateral.weight.grad.abs().sum() > 0 for lateral in backbone.laterals)


class TestRefusals:
    def test_mistyped_name(self):
        with pytest.raises(UserError, match=r"backbone.name=resnet1O: timm .* no such model: did you mean .*resnet1\d"):
            PyramidBackbone("resnet1O")

    @pytest.mark.parametrize(
        "name",
        [
            "hf-hub:someone/something", "hf_hub:someone/something", "local-dir:/tmp", "local-dir:../x", "../x", "/etc",
            "https://example.com/model", "timm/resnet18", "torchvision.models.resnet18", "os.system", "",
            "resnet18/../../x", "hf-hub:timm/resnet18.a1_in1k",
        ],
    )  # fmt: skip
    def test_names_that_lead_elsewhere(self, name, monkeypatch):
        monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("must not be called"))
        with pytest.raises(UserError, match="no such model"):
            PyramidBackbone(name)

    @pytest.mark.parametrize("name", [["resnet18"], None, 18, {"name": "resnet18"}])
    def test_names_that_are_none(self, name):
        with pytest.raises(UserError, match=r"backbone.name=.*no such model"):
            PyramidBackbone(name)

    def test_weights_that_cannot_be_fetched(self, monkeypatch):
        def unreachable(name, pretrained, **_):
            assert pretrained
            raise OSError("cannot reach the hub")

        monkeypatch.setattr(timm, "create_model", unreachable)
        with pytest.raises(UserError, match=r"weights of resnet18 cannot be fetched \(OSError.*pretrained=false"):
            PyramidBackbone("resnet18", pretrained=True)

    def test_tag_that_there_is_not(self):
        with pytest.raises(UserError, match=r"backbone.name=resnet18.no_such_tag"):
            PyramidBackbone("resnet18.no_such_tag")

    def test_model_without_feature_maps(self, monkeypatch):
        def without_features(name, **_):
            raise RuntimeError("features_only not implemented")

        monkeypatch.setattr(timm, "create_model", without_features)
        with pytest.raises(UserError, match=r"resnet18: timm cannot give its feature maps \(RuntimeError: feat"):
            PyramidBackbone("resnet18")
