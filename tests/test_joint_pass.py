"""The losses of all heads in one compiled pass give what they give one after the other."""

from __future__ import annotations

import logging
import weakref

import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks.measure import operators
from lightning_centernet import GenericLoss, UserError, generic_loss, standard_heads
from lightning_centernet.generic_loss import _losses, _need_few_copies
from lightning_centernet.losses import focal_pass, joint_pass, kernel
from lightning_centernet.losses.joint_pass import JointPass
from lightning_centernet.losses.kernel import CompiledOnce
from lightning_centernet.testing import fake_batch, fake_outputs
from tests.heads.test_heads import HEADS
from tests.test_generic_loss import MOT, NUSCENES, POSE, assert_small, rival

SIZE = {"batch_size": 2, "grid": (12, 20)}

pytestmark = pytest.mark.skipif(not kernel.KNOWS_DERIVATIVES, reason="this torch computes them one after the other")


@pytest.fixture(autouse=True)
def joint(monkeypatch):
    """Compile small outputs too, and forget what was compiled, or failed to be."""
    torch._dynamo.reset()
    for name in ("_over_map", "_multiply"):
        once = getattr(focal_pass, name)
        monkeypatch.setattr(focal_pass, name, CompiledOnce(once.function, once.name))
    monkeypatch.setattr(kernel, "WORTH_COMPILING", 1)
    monkeypatch.setattr(
        generic_loss, "_in_one_pass", made := JointPass(_losses, "the loss of all heads", _need_few_copies)
    )
    yield made
    torch._dynamo.reset()


@pytest.fixture
def uncompiled(monkeypatch):
    """Go the same way, but call the function as it is."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


@pytest.fixture
def runs(joint):
    """List what the gradient of the first loss was multiplied by in each run of the pass."""
    made, run = [], joint.compiled.function

    def recorded(*arguments):
        made.append(None if arguments[-1] is None else arguments[-1][0].item())
        return run(*arguments)

    joint.compiled.function = recorded
    return made


class Example:
    """A batch, outputs, and the loss of them."""

    def __init__(self, heads, seed=0, labelled=None, dtype=torch.float32, layout=torch.contiguous_format, **size):
        size = SIZE | size
        self.heads = standard_heads(heads)
        self.criterion = GenericLoss(self.heads)
        self.batch = fake_batch(standard_heads(labelled or heads), objects=5, slots=8, seed=seed, **size)
        self.outputs = fake_outputs(self.heads, **size)
        for name, output in self.outputs.items():
            self.outputs[name] = output.to(dtype, memory_format=layout).requires_grad_()

    def losses(self):
        return self.criterion(self.outputs, self.batch)

    def gradients(self, scale=1.0):
        tot, stats = self.losses()
        gradients = torch.autograd.grad(tot * scale, list(self.outputs.values()))
        return stats, dict(zip(self.outputs, gradients, strict=True))


def assert_same(example, monkeypatch, scale=1.0, **tolerance):
    stats, gradients = example.gradients(scale)
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "WORTH_COMPILING", 2**62)
        expected, exact = example.gradients(scale)
    torch.testing.assert_close(stats, expected)
    torch.testing.assert_close(gradients, exact, **tolerance)
    assert {name: each.stride() for name, each in gradients.items()} == {n: each.stride() for n, each in exact.items()}


def said_in(caplog):
    return [record.message for record in caplog.records if "the loss of all heads" in record.message]


@pytest.mark.parametrize("heads", [NUSCENES, POSE], ids=["nuscenes", "pose"])
def test_same_numbers(heads, joint, monkeypatch, caplog):
    counters.clear()
    with caplog.at_level(logging.INFO):
        example = Example(heads, batch_size=5)
        for _ in range(2):  # gradients of the backward pass, then of the forward pass
            assert_same(example, monkeypatch)
        example = Example(heads, seed=1, batch_size=3, grid=(24, 16))  # must not compile again
        with torch.no_grad():
            example.outputs["hm"].mul_(20)  # beyond the limits only derivatives that were written by hand are not zero
        assert_same(example, monkeypatch)
        assert (example.outputs["hm"].abs() > 10).any()
    assert joint.compiled.compiled
    assert not joint.compiled.failed
    assert counters["stats"]["unique_graphs"] == 1
    assert said_in(caplog) == ["compiling the loss of all heads, once; this can take half a minute"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_that_lie_channels_last(dtype, joint, monkeypatch):
    example = Example({"hm": 3, "reg": 2, "dep": 1}, dtype=dtype, layout=torch.channels_last)
    assert_same(example, monkeypatch, scale=1024, rtol=2e-2, atol=1e-3)
    assert not joint.compiled.failed


def test_halves_from_one_end_to_the_other(joint):
    """What the operators give for the same numbers in float32."""
    example = Example(NUSCENES, dtype=torch.float16)
    for output in example.outputs.values():
        shuffled = torch.randperm(output.numel(), generator=torch.Generator().manual_seed(0))
        output.data = torch.linspace(-50, 50, output.numel())[shuffled].view_as(output).half()
    stats, gradients = example.gradients()
    joint.compiled.failed = True
    example.outputs = {name: output.detach().float().requires_grad_() for name, output in example.outputs.items()}
    expected, exact = example.gradients()
    joint.compiled.failed = False
    assert joint.compiled.compiled
    torch.testing.assert_close(stats, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients, {name: each.half() for name, each in exact.items()})


def test_gradients_of_easy_cells_survive_in_float16(joint):
    """The scale of the loss comes before the rounding."""
    example = Example({"hm": 3}, dtype=torch.float16)
    example.batch["hm"].zero_()
    example.outputs["hm"].data.fill_(-6.0)
    _, gradients = example.gradients(scale=65536)
    assert joint.compiled.compiled
    assert not joint.compiled.failed
    assert gradients["hm"].all()
    assert (example.gradients()[1]["hm"] == 0).any()  # what scaling afterwards would start from


def test_many_equal_cells(joint, monkeypatch):
    """Where they are added one after the other, each is rounded the same way."""
    heads = {"hm": {"channels": 3, "focal": "quality"}, "wh": {"channels": 2, "dense": True}}
    example = Example(heads, grid=(352, 192))
    example.batch["dense_wh_mask"].fill_(1.0)
    example.batch["dense_wh"].zero_()
    for name, value in {"hm": -2.19, "wh": 7.77}.items():
        example.outputs[name] = torch.full_like(example.outputs[name], value).requires_grad_()
    assert_same(example, monkeypatch, rtol=1e-5, atol=1e-9)
    assert joint.compiled.compiled
    assert not joint.compiled.failed


@pytest.mark.parametrize("heads", [MOT, NUSCENES], ids=["mot", "nuscenes"])
def test_memory_and_operators(heads, joint):
    step, outputs = rival(heads, batch_size=4, grid=(64, 80), objects=5, slots=8)
    assert_small(step, outputs)
    assert joint.compiled.compiled
    counted = operators(step)
    assert counted.kernels <= 10
    assert not counted.callers


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("option", [{"focal": "quality"}, {"mse": True}], ids=["quality", "mse"])
def test_other_losses_of_heat_maps(option, layout, joint, monkeypatch):
    heads = {"hm": {"channels": 16, **option}, "wh": 2}
    assert_same(Example(heads, layout=layout), monkeypatch)
    step, outputs = rival(heads, layout=layout, batch_size=4, grid=(64, 80), objects=5, slots=8)
    assert_small(step, outputs)
    assert joint.compiled.compiled
    assert not joint.compiled.failed


def test_deterministic_algorithms(joint):
    """Also where many objects meet in one cell, and two threads add them."""
    example = Example({"hm": 1, "hps": 34}, batch_size=1, grid=(64, 80))
    example.batch = fake_batch(example.heads, objects=200, slots=256, batch_size=1, grid=(64, 80))
    example.batch["ind"] = example.batch["ind"][:, :1].expand(-1, 256)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    try:
        first, *others = (example.gradients()[1] for _ in range(20))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    assert joint.compiled.compiled
    assert all(torch.equal(each[name], first[name]) for each in others for name in first)


@pytest.mark.usefixtures("uncompiled")
class TestGraph:
    def test_every_head(self, monkeypatch):
        assert_same(Example(HEADS), monkeypatch)

    def test_heads_without_targets(self, monkeypatch):
        assert_same(Example(HEADS, labelled={"hm": 3, "wh": 2}), monkeypatch)

    def test_asked_for_what_is_expected(self, runs, monkeypatch):
        example = Example(HEADS)
        example.gradients(scale=2)
        assert runs == [1, 2]  # nothing is known of the first
        runs.clear()
        assert_same(example, monkeypatch, scale=2)
        assert runs == [2]
        runs.clear()
        assert_same(example, monkeypatch, scale=3)
        assert runs == [2, 3]

    def test_on_a_device(self, runs, monkeypatch):
        monkeypatch.setattr(joint_pass, "_foreseen", lambda *_: None)
        example = Example(HEADS)
        for scale in (2, 3):
            runs.clear()
            assert_same(example, monkeypatch, scale)
            assert runs == [None, scale]

    def test_a_factor_that_changes_in_between(self, monkeypatch):
        def gradient(example):
            example.criterion.weighting.forward = lambda losses, _: losses.sum()  # whose derivative is a view
            factor, output = torch.tensor(3.0), example.outputs["hm"]
            example.losses()[0].backward(factor)
            tot, output.grad = example.losses()[0], None
            factor.fill_(100.0)
            tot.backward(factor)
            return output.grad

        found = gradient(Example({"hm": 3, "wh": 2}))
        monkeypatch.setattr(kernel, "WORTH_COMPILING", 2**62)
        torch.testing.assert_close(found, gradient(Example({"hm": 3, "wh": 2})))

    def test_built_in_other_surroundings(self):
        with torch.device("meta"):
            upstream = GenericLoss({"hm": 3, "wh": 2})._expected.upstream
        assert upstream.device.type == "cpu"
        torch.set_default_dtype(torch.bfloat16)
        try:
            upstream = GenericLoss({"hm": 3, "wh": 2})._expected.upstream
        finally:
            torch.set_default_dtype(torch.float32)
        assert upstream.dtype == torch.float32

    def test_over_a_kept_graph(self):
        example = Example(HEADS)
        _, stats = example.losses()
        given = list(example.outputs.values())
        both = torch.autograd.grad(stats["hm"] + stats["hps"], given, retain_graph=True)
        one = torch.autograd.grad(stats["hm"], given, retain_graph=True)
        other = torch.autograd.grad(stats["hps"], given)
        for sum_, first, second in zip(both, one, other, strict=True):
            torch.testing.assert_close(sum_, first + second)

    def test_second_derivative(self, monkeypatch):
        def curvature(example):
            outputs = list(example.outputs.values())
            tot, _ = example.losses()
            gradients = torch.autograd.grad(tot, outputs, create_graph=True)
            return torch.autograd.grad(sum(each.square().sum() for each in gradients), outputs)

        found = curvature(Example(NUSCENES))
        monkeypatch.setattr(kernel, "WORTH_COMPILING", 2**62)
        torch.testing.assert_close(found, curvature(Example(NUSCENES)))
        assert any(each.any() for each in found)

    def test_outputs_of_frozen_heads(self, monkeypatch):
        example = Example({"hm": 3, "wh": 2, "reg": 2})
        example.outputs["wh"].requires_grad_(False)
        tot, _ = example.losses()
        tot.backward()
        assert example.outputs["wh"].grad is None
        found = example.outputs["reg"].grad
        monkeypatch.setattr(kernel, "WORTH_COMPILING", 2**62)
        example.outputs["wh"].requires_grad_()
        torch.testing.assert_close(found, example.gradients()[1]["reg"])

    def test_targets_are_held_no_longer_than_needed(self):
        example = Example({"hm": 3, "wh": 2})
        held = weakref.ref(example.batch["image"]), weakref.ref(example.batch["wh"])
        tot, _ = example.losses()
        example.batch.clear()
        assert held[0]() is None
        tot.backward()
        assert held[1]() is None

    def test_targets_that_changed_in_between(self):
        example = Example({"hm": 3, "wh": 2})
        tot, _ = example.losses()
        tot.backward(retain_graph=True)
        example.batch["wh"].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            tot.backward()

    @pytest.mark.parametrize("key", ["hm", "ind", "cat", "mask"])
    @pytest.mark.parametrize("focal", ["sparse", "quality"])
    def test_targets_that_changed_in_between_elsewhere(self, focal, key, monkeypatch):
        """Of maps that are computed alone."""
        monkeypatch.setattr(kernel, "WORTH_COMPILING", 2**62)
        monkeypatch.setattr(kernel, "BLOCK", 13)
        example = Example({"hm": {"channels": 3, "focal": focal}})
        tot, _ = example.losses()
        tot.backward(retain_graph=True)
        example.batch[key].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            tot.backward()

    def test_targets_with_gradients(self, joint):
        example = Example({"hm": 3, "wh": 2})
        example.batch["wh"].requires_grad_()
        example.losses()[0].backward()
        assert example.batch["wh"].grad.any()
        assert joint.compiled.compiled is None

    def test_heads_of_ones_own(self, joint):
        class Scaled(type(standard_heads({"wh": 2})["wh"])):
            def criterion(self, prediction, batch):
                return (prediction * FACTOR).abs().mean()

        FACTOR = torch.ones((), requires_grad=True)
        wh = Scaled(name="wh", channels=2)
        example = Example({"hm": 3, "wh": wh})
        example.losses()[0].backward()
        assert FACTOR.grad
        assert joint.compiled.compiled is None

    def test_wrong_targets(self):
        example = Example({"hm": 3, "wh": 2})
        example.batch["wh"] = example.batch["wh"][..., :1]
        with pytest.raises(UserError, match="wh") as raised:
            example.losses()
        assert raised.value.__context__ is None

    def test_what_is_left_to_the_function(self, joint, monkeypatch):
        example = Example({"hm": 3, "wh": 2})
        with torch.no_grad():
            example.losses()
        for module, name, value in ((joint_pass, "TOO_LARGE", 1), (kernel, "KNOWS_DERIVATIVES", False)):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, value)
                example.gradients()
            assert joint.compiled.compiled is None
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.clone):  # as in a checkpoint
            example.gradients()
        assert joint.compiled.compiled is None
        assert not joint.compiled.failed
        example.gradients()
        assert joint.compiled.compiled

    def test_functional_transforms(self, joint):
        example = Example({"hm": 3, "wh": 2})
        outputs = {name: output.detach() for name, output in example.outputs.items()}
        _, expected = example.gradients()
        joint.compiled.compiled = None
        found = torch.func.grad(lambda outputs: example.criterion(outputs, example.batch)[0])(outputs)
        torch.testing.assert_close(found, expected)
        assert joint.compiled.compiled is None

    def test_heat_map_that_lies_otherwise(self, joint, monkeypatch):
        example = Example({"hm": 3, "wh": 2}, layout=torch.channels_last)
        example.batch["hm"] = example.batch["hm"].contiguous()
        assert_same(example, monkeypatch)
        assert joint.compiled.compiled is None


def test_switched_off(joint, monkeypatch):
    example = Example(HEADS)
    with torch.compiler.set_stance("force_eager"):
        assert_same(example, monkeypatch)
    assert not joint.compiled.failed


@pytest.mark.parametrize("at_once", [True, False])
def test_without_a_compiler(at_once, joint, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("no C++ compiler found\nand a long story")

    monkeypatch.setattr(torch, "compile", fail if at_once else lambda *_, **__: fail)
    with caplog.at_level(logging.INFO):
        assert_same(Example(HEADS), monkeypatch)
        assert_same(Example(HEADS, seed=1), monkeypatch)
    assert said_in(caplog)[1:] == [
        "the loss of all heads stays uncompiled, slower and with the same results: no C++ compiler found"
    ]
    assert joint.compiled.failed


def test_disabled(joint, monkeypatch, caplog):
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    with caplog.at_level(logging.INFO):
        assert_same(Example(HEADS), monkeypatch)
        assert_same(Example(HEADS, seed=1), monkeypatch)
    reason = "TORCH_COMPILE_DISABLE=1 is set"
    assert said_in(caplog) == [f"the loss of all heads stays uncompiled, slower and with the same results: {reason}"]
    assert joint.compiled.failed


def test_gradients_that_do_not_compile(joint, monkeypatch, caplog):
    def compile_losses(run, **_):
        def compiled(*arguments):
            if arguments[-1] is not None:
                raise NotImplementedError("no such kernel on this device")
            return run(*arguments)

        return compiled

    monkeypatch.setattr(joint_pass, "_foreseen", lambda *_: None)
    monkeypatch.setattr(torch, "compile", compile_losses)
    with caplog.at_level(logging.INFO):
        assert_same(Example(HEADS), monkeypatch)
        assert joint.compiled.failed
        assert_same(Example(HEADS, seed=1), monkeypatch)
    assert said_in(caplog)[1:] == [
        "the loss of all heads stays uncompiled, slower and with the same results: no such kernel on this device"
    ]
