"""Backbones of all shapes: what is found by the dry run, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_centernet import UserError, standard_heads
from lightning_centernet.models import Network
from lightning_centernet.models.probe import as_stacks, probe

HEADS = standard_heads({"hm": 3, "wh": 2, "reg": 2})


class Gives(nn.Module):
    """A backbone that gives whatever a function makes of a strided feature map."""

    def __init__(self, function=lambda features: features, channels=5, stride=4):
        super().__init__()
        self.convolution = nn.Conv2d(3, channels, stride, stride)
        self.function = function

    def forward(self, image):
        return self.function(self.convolution(image))


class OwnHeads(nn.Module):
    def __init__(self, heads=HEADS, stacks=2, extra=()):
        super().__init__()
        self.stacks = stacks
        channels = {name: head.channels for name, head in heads.items()} | dict(extra)
        self.convolutions = nn.ModuleDict({name: nn.Conv2d(3, number, 4, 4) for name, number in channels.items()})

    def forward(self, image):
        return [{name: layer(image) for name, layer in self.convolutions.items()} for _ in range(self.stacks)]


def network(backbone, heads=HEADS, size=(32, 48), **options):
    return Network(backbone, heads, input_size=size, **options)


def shapes(outputs):
    return [{name: tuple(output.shape) for name, output in stack.items()} for stack in outputs]


EXPECTED = {"hm": (2, 3, 8, 12), "wh": (2, 2, 8, 12), "reg": (2, 2, 8, 12)}


class TestNetwork:
    def test_one_map(self):
        net = network(Gives())
        assert net.stride == 4
        assert shapes(net(torch.randn(2, 3, 32, 48))) == [EXPECTED]

    @pytest.mark.parametrize("sequence", [list, tuple])
    def test_maps_of_several_stacks(self, sequence):
        backbone = Gives(lambda x: sequence([x, torch.cat([x, x], 1)]))
        net = network(backbone)
        assert shapes(net(torch.randn(2, 3, 32, 48))) == [EXPECTED] * 2
        assert [stack["hm"][0].in_channels for stack in net.stacks] == [5, 10]

    def test_heads_of_its_own(self):
        backbone = OwnHeads()
        net = network(backbone)
        assert shapes(net(torch.randn(2, 3, 32, 48))) == [EXPECTED] * 2
        assert {id(p) for p in net.parameters()} == {id(p) for p in backbone.parameters()}

    def test_one_dict_and_more_outputs_than_heads(self):
        """CenterFusion's networks hand out the radar's heat map beside the heads."""
        backbone = OwnHeads(stacks=1, extra=[("pc_hm", 1)])
        forward = backbone.forward
        backbone.forward = lambda image: forward(image)[0]
        assert set(network(backbone)(torch.randn(1, 3, 32, 48))[0]) == {*HEADS, "pc_hm"}

    @pytest.mark.parametrize("stride", [1, 2, 4, 8])
    def test_stride(self, stride):
        net = network(Gives(stride=stride))
        assert net.stride == stride
        assert net(torch.randn(1, 3, 16, 64))[0]["hm"].shape == (1, 3, 16 // stride, 64 // stride)

    def test_first_outputs_are_near_the_bias(self):
        heads = standard_heads({"hm": 3, "wh": 2, "reg": {"bias": 0.5}})
        (outputs,) = network(Gives(), heads)(torch.randn(1, 3, 32, 48))
        for name, bias in {"hm": -2.19, "wh": 0.0, "reg": 0.5}.items():
            torch.testing.assert_close(outputs[name], torch.full_like(outputs[name], bias), rtol=0, atol=0.05)

    def test_head_width(self):
        assert network(Gives(), head_width=7).stacks[0]["hm"][0].out_channels == 7

    def test_memory_layout_changes_no_value(self):
        net = network(Gives()).double()
        image = torch.randn(2, 3, 32, 48).double()
        (outputs,), (other,) = net(image), net(image.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(outputs["hm"], other["hm"], rtol=0, atol=0)

    def test_every_parameter_learns(self):
        net = network(Gives(lambda x: [x, x]))
        sum(output.sum() for stack in net(torch.randn(2, 3, 32, 48)) for output in stack.values()).backward()
        assert all(parameter.grad is not None for parameter in net.parameters())

    def test_outputs_are_not_rounded_under_autocast(self):
        model = network(Gives())
        with torch.autocast("cpu", torch.bfloat16):
            assert model.stacks[0]["hm"][0](torch.rand(1, 5, 8, 12)).dtype == torch.bfloat16
            outputs = model(torch.rand(1, 3, 32, 48))[0]
        assert all(output.dtype == torch.float32 for output in outputs.values())
        assert any((output != output.bfloat16()).any() for output in outputs.values())

    def test_half_precision_backbone(self):
        assert network(Gives().to(torch.bfloat16)).stride == 4


class TestDryRun:
    def test_statistics_and_modes_stay(self):
        backbone = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm2d(4))
        backbone[3].eval()  # frozen by the user
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        random = torch.random.get_rng_state()
        probe(backbone, (32, 48))
        assert [layer.training for layer in (backbone, *backbone)] == [True, True, True, True, False]
        assert torch.equal(random, torch.random.get_rng_state())
        for name, value in backbone.state_dict().items():
            assert torch.equal(value, before[name])
        assert all(parameter.grad is None for parameter in backbone.parameters())

    def test_modes_stay_after_a_failure(self):
        backbone = nn.Sequential(nn.Conv2d(7, 4, 4), nn.BatchNorm2d(4))
        with pytest.raises(UserError):
            probe(backbone, (32, 48))
        assert backbone.training
        assert backbone[1].training

    def test_without_parameters(self):
        assert probe(nn.AvgPool2d(4), (32, 48)).channels == (3,)


MISFITS = [
    (Gives(lambda x: x.flatten(1)), r"of shape \(1, 3, 32, 48\) into a map of shape \(1, 480\); expected \(B, C, H"),
    (Gives(lambda x: x[..., 1:]), r"into a map of shape \(1, 5, 8, 11\); expected"),
    (Gives(lambda x: x[:, :, ::2]), r"into a map of shape \(1, 5, 4, 12\); expected"),
    (Gives(lambda x: x.mT), r"into a map of shape \(1, 5, 12, 8\); expected"),
    (Gives(lambda x: x[0]), r"into a map of shape \(5, 8, 12\); expected"),
    (Gives(lambda x: [x, x[:, :, ::2, ::2]]), r"maps of different sizes, \(1, 5, 8, 12\), \(1, 5, 4, 6\); expected"),
    (Gives(lambda x: None), "the backbone gives NoneType; expected"),
    (Gives(lambda x: "features"), "the backbone gives .*; expected"),
    (Gives(lambda x: []), "the backbone gives an empty list; expected"),
    (Gives(lambda x: [x, {"hm": x}]), "the backbone gives Tensor, dict; expected"),
    (Gives(lambda x: [[x]]), "the backbone gives list; expected"),
    (Gives(lambda x: {}), "the backbone gives .*; expected"),
    (Gives(lambda x: {"hm": [x]}), "the backbone gives .*; expected"),
    (nn.Conv2d(1, 4, 4, 4), r"Conv2d fails on an image of shape \(1, 3, 32, 48\) \(RuntimeError: .*expected input"),
    (Gives(lambda x: 1 / 0), r"Gives fails .* \(ZeroDivisionError: division by zero\); expected"),
    (OwnHeads(standard_heads({"hm": 3, "wh": 2})), "brings the heads hm, wh, but not the task's `reg`"),
    (OwnHeads(standard_heads({"hm": 4, "wh": 2, "reg": 2})), "output `hm` has 4 channels, but the head 3"),
]  # fmt: skip


@pytest.mark.parametrize(("backbone", "message"), MISFITS)
def test_misfits_say_what_was_expected_and_what_came(backbone, message):
    with pytest.raises(UserError, match=message):
        network(backbone)


def test_another_number_of_stacks_than_in_the_dry_run():
    backbone = Gives()
    net = network(backbone)
    backbone.function = lambda x: [x, x]  # such as an auxiliary output while training
    with pytest.raises(UserError, match="gives 2 stacks, but gave 1"):
        net(torch.randn(1, 3, 32, 48))


class TestSizes:
    def test_of_a_backbone_that_says_its_multiple(self):
        backbone = Gives()
        backbone.multiple = 32
        with pytest.raises(UserError, match=r"input is 33x48 .*multiples of 32: set data.input_size=\[64,64\]"):
            network(backbone, size=(33, 48))

    def test_of_an_image(self):
        net = network(Gives())
        with pytest.raises(UserError, match=r"input is 30x48 .*multiples of 4: set data.input_size=\[32,48\]"):
            net(torch.randn(1, 3, 30, 48))

    def test_other_sizes_than_the_first(self):
        assert network(Gives())(torch.randn(1, 3, 64, 32))[0]["hm"].shape == (1, 3, 16, 8)


def test_as_stacks_makes_new_dicts():
    own = {"hm": torch.zeros(1)}
    (stack,) = as_stacks([own])
    stack["wh"] = torch.zeros(1)
    assert set(own) == {"hm"}
