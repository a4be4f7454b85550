"""The loss of all heads as a whole: what it costs, how it compiles, what it does without targets."""

from __future__ import annotations

import logging
from itertools import product

import pytest
import torch

from benchmarks.measure import Rival, operators, peak_memory
from lightning_centernet import GenericLoss, generic_loss, standard_heads
from lightning_centernet.losses import focal_pass, joint_pass, kernel
from lightning_centernet.losses.kernel import CompiledOnce
from lightning_centernet.models import Network
from lightning_centernet.testing import fake_batch, fake_outputs
from tests.heads.test_heads import HEADS

NUSCENES = {"hm": 10, "wh": 2, "reg": 2, "dep": 1, "dep_sec": 1, "dim": 3, "rot": 8, "rot_sec": 8} | {
    "amodel_offset": 2,
    "nuscenes_att": 8,
    "velocity": 3,
}
DETECTION = {"hm": 80, "wh": 2, "reg": 2}
QUALITY = DETECTION | {"hm": {"channels": 80, "focal": "quality"}}
MSE = DETECTION | {"hm": {"channels": 80, "mse": True}}
POSE = {"hm": 1, "wh": 2, "reg": 2, "hps": 34, "hm_hp": 17, "hp_offset": 2}
MOT = {"hm": 1, "reg": 2, "wh": 2, "tracking": 2, "ltrb_amodal": 4}


def rival(heads, dtype=torch.float32, layout=torch.contiguous_format, heatmap_layout=None, **sizes):
    """The layout is that of all maps, as a batch from `prepare` has it too, unless the heat maps have another."""
    heads, leaves = standard_heads(heads), {}
    batch, criterion = fake_batch(heads, **sizes), GenericLoss(heads)
    target_layout = heatmap_layout or layout
    batch |= {name: batch[name].contiguous(memory_format=target_layout) for name in ("hm", "hm_hp") if name in heads}
    outputs = fake_outputs(heads, batch_size=sizes["batch_size"], grid=sizes["grid"])
    outputs = {name: output.to(dtype, memory_format=layout) for name, output in outputs.items()}

    def restore():
        leaves.update({name: output.clone().requires_grad_() for name, output in outputs.items()})

    def run():
        criterion(leaves, batch)[0].backward()

    return Rival(run, restore), outputs


def in_later_steps(step):
    """The first one sends constants to the device."""
    step.restore()
    step.run()
    return operators(step)


def test_operators():
    """A step over the heads of nuScenes dispatched 395 in the original, without views; 1,573 with them."""
    step, _ = rival(NUSCENES, batch_size=4, grid=(16, 24), objects=8, slots=16)
    counted = in_later_steps(step)
    assert not counted.callers
    assert counted.kernels <= 150
    assert counted.all <= 260


@pytest.mark.parametrize("heads", [HEADS, NUSCENES], ids=["all", "nuscenes"])
def test_nothing_waits_for_the_device(heads):
    step, _ = rival(heads, batch_size=2, grid=(8, 12), objects=3, slots=5)
    assert not in_later_steps(step).callers


def assert_small(step, outputs, working_copies=0):
    step.restore()
    step.run()
    assert peak_memory(step) <= 1.1 * sum(output.nbytes for output in outputs.values()) + working_copies


def test_memory_where_outputs_and_heat_map_lie_differently():
    """Of maps that would be compiled together with other heads if they lay alike."""
    layouts = {"layout": torch.channels_last, "heatmap_layout": torch.contiguous_format}
    assert_small(*rival(DETECTION, batch_size=1, grid=(128, 128), **layouts))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "heads",
    [DETECTION, QUALITY, MSE, NUSCENES, POSE, MOT],
    ids=["detection", "quality", "mse", "nuscenes", "pose", "mot"],
)
def test_memory_of_large_maps(monkeypatch, heads, dtype, layout):
    """Hardly more than the gradients, which somebody must hold; also where nothing is compiled."""
    monkeypatch.setattr(kernel, "WORTH_COMPILING", 2**62)
    step, outputs = rival(heads, dtype, layout, batch_size=4, grid=(128, 160), objects=20, slots=64)
    # Halves are computed with in float32, which the gradients do not make room for.
    assert_small(step, outputs, 0 if dtype == torch.float32 else 5 * 4 * 4 * kernel.BLOCK)


@pytest.mark.parametrize(
    ("layout", "heatmap_layout"), list(product([torch.contiguous_format, torch.channels_last], repeat=2))
)
@pytest.mark.parametrize("focal", ["sparse", "dense"])
@pytest.mark.parametrize(("classes", "grid"), [(80, (128, 128)), (2, (1024, 1024))])
def test_memory_of_large_maps_that_are_compiled(monkeypatch, layout, heatmap_layout, focal, classes, grid):
    """Those that are too large to be compiled together with other heads."""
    monkeypatch.setattr(joint_pass, "TOO_LARGE", 1)
    monkeypatch.setattr(focal_pass, "_over_map", compiled := CompiledOnce(focal_pass._run, "the focal loss"))
    heads = DETECTION | {"hm": {"channels": classes, "focal": focal}}
    layouts = {"layout": layout, "heatmap_layout": heatmap_layout}
    assert_small(*rival(heads, **layouts, batch_size=2, grid=grid, objects=20, slots=64))
    assert compiled.compiled
    assert not compiled.failed


def test_compiles_whole():
    """Network and loss of all heads in one graph, forward and backward."""
    backbone = torch.nn.Conv2d(3, 8, 4, stride=4)
    network, criterion = Network(backbone, standard_heads(HEADS), head_width=8, input_size=(32, 48)), GenericLoss(HEADS)
    batch = fake_batch(HEADS, grid=(8, 12), objects=3, slots=5)
    step = torch.compile(lambda image: criterion(network(image), batch), fullgraph=True, backend="aot_eager")
    tot, stats = step(batch["image"])
    tot.backward()
    expected, expected_stats = criterion(network(batch["image"]), batch)
    torch.testing.assert_close(tot, expected)
    torch.testing.assert_close(stats, expected_stats)


class TestMissingTargets:
    def test_contribute_a_zero_with_a_gradient(self, caplog):
        outputs = {name: output.requires_grad_() for name, output in fake_outputs(HEADS).items()}
        batch = fake_batch({"hm": 3, "wh": 2})
        criterion = GenericLoss(HEADS)
        with caplog.at_level(logging.WARNING):
            tot, stats = criterion(outputs, batch)
            criterion(outputs, batch)
        tot.backward()
        expected, _ = GenericLoss({"hm": 3, "wh": 2})(outputs, batch)
        torch.testing.assert_close(tot, expected)
        assert set(stats) == {"tot", *HEADS}
        for name, output in outputs.items():
            learns = name in ("hm", "wh")
            assert stats[name].requires_grad
            assert bool(stats[name] != 0) == bool(output.grad.any()) == learns
        assert (
            sum("`hps` learns nothing from batches without `hps`" in record.message for record in caplog.records) == 1
        )

    def test_of_the_other_kind_each_time(self):
        """As with two data sets by turns: together their gradients are those of each."""
        heads = {"hm": 3, "wh": 2, "hps": 34}
        criterion, outputs = GenericLoss(heads), fake_outputs(heads)
        for labelled in ({"hm": 3, "wh": 2}, {"hm": 3, "hps": 34}):
            tot, stats = criterion(outputs, fake_batch(labelled))
            assert {name for name in heads if stats[name] != 0} == set(labelled)
            assert tot.isfinite()


def test_two_processes_together_are_one():
    """What each of two makes of its half of the batch, divided by what both have labelled, averages to the whole."""
    heads = standard_heads(HEADS)
    halves = [fake_batch(heads, batch_size=1, objects=objects, seed=objects) for objects in (0, 5)]
    batch = {key: torch.cat([half[key] for half in halves]) for key in halves[0]}
    outputs = [output.requires_grad_() for output in fake_outputs(heads, batch_size=2).values()]
    present, counted = [True] * len(heads), []

    def count(counts):
        counted.append(counts)
        return counts, 1

    def losses_of(half, sum_over_ranks):
        mine = [output[half : half + 1] for output in outputs]
        return generic_loss._losses(mine, halves[half], heads, present, sum_over_ranks)

    for half in range(2):
        losses_of(half, count)
    both = torch.stack([losses_of(half, lambda _: (counted[0] + counted[1], 2)) for half in range(2)]).mean(0)
    whole = generic_loss._losses(outputs, batch, heads, present)
    torch.testing.assert_close(both, whole, rtol=1e-5, atol=1e-7)
    shares = torch.linspace(0.5, 2, len(heads))
    for name, one, other in zip(
        heads,
        torch.autograd.grad(both @ shares, outputs, retain_graph=True),
        torch.autograd.grad(whole @ shares, outputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8, msg=lambda said, name=name: f"{name}: {said}")
