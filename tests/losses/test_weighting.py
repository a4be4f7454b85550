"""The contract that every loss has: weights, reductions, precision, empty inputs, no waiting for the device."""

from __future__ import annotations

import pickle
from inspect import isfunction, signature
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

import lightning_centernet.losses as losses
from lightning_centernet.errors import UserError
from lightning_centernet.losses import CIoULoss, L1Loss, OKSLoss, WeightedLoss, reduce_loss, weighted
from tests.losses.cases import LOSSES, make_case
from tests.waiting import Recorder

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
quickly = settings(max_examples=15, deadline=None)
every_loss = pytest.mark.parametrize("loss", LOSSES)

PREDICTION = torch.tensor([[0.0, 2, 3, 0], [0, 2, 3, 0]])
TARGET = torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 1]])


def call(loss, case, *args, **kwargs):
    return loss(case.prediction, case.target, *args, **kwargs, **case.inputs)


def same(actual, expected):
    torch.testing.assert_close(actual, expected, check_dtype=False)


def broadcasting(draw_axes, shape, seed):
    """Make a weight of a shape that broadcasts to `shape`: some sides 1, some leading ones left out."""
    sides = [1 if one else side for one, side in zip(draw_axes, shape, strict=False)]
    sides = sides[draw_axes[-1] * (len(shape) // 2) :]
    return torch.rand(sides, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_losses_are_listed():
    """Every function with the contract has a module, and both are exported."""
    functions = {name for name, each in vars(losses).items() if "avg_factor" in _parameters(each)} - {"reduce_loss"}
    assert functions == {loss.function.__name__ for loss in LOSSES}
    assert functions | {loss.__name__ for loss in LOSSES} <= set(losses.__all__)


def _parameters(each):
    return signature(each).parameters if isfunction(each) else ()


@every_loss
@quickly
@given(seed=SEEDS, shape=SHAPES, axes=st.tuples(*[st.booleans()] * 4), factor=st.floats(0.1, 10))
def test_algebra(loss, seed, shape, axes, factor):
    case, weight = make_case(loss, *shape, seed=seed), broadcasting(axes, shape, seed)
    module, count = loss(), max(prod(shape), 1)
    each = call(module, case, reduction_override="none")
    assert each.shape == shape
    same(call(module, case, weight, reduction_override="none"), each * weight)
    same(call(module, case, weight, avg_factor=factor, reduction_override="none"), each * weight)
    total = (each * weight).sum()
    same(call(module, case, weight, reduction_override="sum"), total)
    same(call(module, case), each.sum() / count)
    same(call(module, case, weight), total / count)
    same(call(module, case, weight, avg_factor=factor), total / factor)
    same(call(module, case, weight, avg_factor=torch.tensor(factor)), total / factor)
    same(call(loss(reduction="sum", loss_weight=0.5), case, weight), total / 2)
    same(call(loss(reduction="none"), case, weight, avg_factor=factor, reduction_override="mean"), total / factor)


@every_loss
def test_sum_and_avg_factor_exclude_each_other(loss):
    with pytest.raises(ValueError, match="avg_factor has no meaning for reduction='sum'"):
        call(loss(), make_case(loss, 3), avg_factor=2, reduction_override="sum")
    with pytest.raises(ValueError, match="avg_factor"):
        call(loss(reduction="sum"), make_case(loss, 3), avg_factor=torch.tensor(2))


@every_loss
def test_unknown_reductions(loss):
    with pytest.raises(UserError, match="reduction='average' is not one of 'none', 'mean', 'sum'"):
        loss(reduction="average")
    with pytest.raises(UserError, match="reduction='' is not one of"):
        call(loss(), make_case(loss, 3), reduction_override="")


@every_loss
def test_weights_that_do_not_fit(loss):
    case = make_case(loss, 2, 3)
    for shape in [(2,), (3, 2), (2, 3, 1), (1, 2, 3)]:
        with pytest.raises(UserError, match=r"weight has shape .* does not broadcast to that of the loss, \(2, 3\)"):
            call(loss(), case, torch.ones(shape))


@every_loss
def test_predictions_and_targets_of_different_shapes(loss):
    case = make_case(loss, 2, 3)
    case.target = case.target[:1]
    with pytest.raises(UserError, match=r"the prediction has shape \(.*\), its target \("):
        call(loss(), case)


@every_loss
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nothing_gives_a_zero_with_a_gradient(loss, shape, reduction):
    case = make_case(loss, *shape)
    case.prediction.requires_grad_()
    value = call(loss(), case, torch.ones(shape), reduction_override=reduction)
    assert value.shape == (shape if reduction == "none" else ())
    assert value.sum() == 0
    value.sum().backward()
    assert case.prediction.grad.shape == case.prediction.shape


@every_loss
def test_no_object_gives_a_zero(loss):
    """Weights are 0, and so is what to divide by."""
    case = make_case(loss, 2, 3)
    case.prediction.requires_grad_()
    for factor in (0, 0.0, torch.zeros(()), torch.zeros((), dtype=torch.int64)):
        value = call(loss(), case, torch.zeros(2, 1), avg_factor=factor)
        value.backward()
        assert value == 0
        assert not case.prediction.grad.any()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision(loss, dtype):
    """Halves are computed with in float32: as if they had been given so."""
    case = make_case(loss, 4, 5).map(lambda value: value.to(dtype))
    case.prediction.requires_grad_()
    full = torch.float64 if dtype == torch.float64 else torch.float32
    weight = torch.rand(4, 1).to(dtype)
    value = call(loss(), case, weight, avg_factor=torch.tensor(3, dtype=torch.float64))
    assert value.dtype == full
    same(value, call(loss(), case.map(lambda value: value.detach().to(full)), weight, avg_factor=3))
    value.backward()
    assert case.prediction.grad.dtype == dtype
    assert case.prediction.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_weights_of_any_type(loss, dtype):
    case, weight = make_case(loss, 4, 5), torch.randint(2, (4, 5), generator=torch.Generator().manual_seed(0))
    same(call(loss(), case, weight.to(dtype)), call(loss(), case, weight.double()))


@every_loss
@quickly
@given(seed=SEEDS)
def test_memory_layouts(loss, seed):
    """Views with any strides give the same, and nothing is written into them."""
    plain = make_case(loss, 3, 4, seed=seed)

    case = plain.map(scattered)
    assert not case.prediction.is_contiguous()
    case.prediction.requires_grad_()
    plain.prediction.requires_grad_()
    weight = torch.rand(1, 4).expand(3, 4)
    value, expected = call(loss(), case, weight), call(loss(), plain, weight)
    same(value, expected)
    same(*torch.autograd.grad(value, case.prediction), *torch.autograd.grad(expected, plain.prediction))
    for used, original in zip(tensors(case), tensors(make_case(loss, 3, 4, seed=seed)), strict=True):
        assert torch.equal(used, original)


def scattered(values):
    """Copy into a view that skips every other number."""
    return torch.stack([values, values + 1], dim=-1)[..., 0]


def tensors(case):
    return [case.prediction, case.target, *case.inputs.values()]


@pytest.mark.parametrize(
    "loss", [each for each in LOSSES if each is not CIoULoss]
)  # whose factor counts as constant: see test_boxes.py
def test_gradients_are_those_of_the_values(loss):
    case, weight = make_case(loss, 2, 3), torch.rand(2, 1, dtype=torch.float64)
    case.prediction.requires_grad_()

    def reduced(prediction):
        return loss()(prediction, case.target, weight, avg_factor=2.5, **case.inputs)

    assert gradcheck(reduced, case.prediction)


@every_loss
def test_host_never_waits(loss):
    case = make_case(loss, 4, 5)
    factor = torch.tensor(3)
    case.prediction.requires_grad_()
    call(loss(), case)  # the first call may make constants
    with Recorder() as recorder:
        call(loss(), case, torch.ones(4, 5), avg_factor=factor).backward()
    assert not recorder.callers


@pytest.mark.parametrize("factor", [-1, -1e-9, float("nan")])
def test_average_factors_that_are_no_counts(factor):
    with pytest.raises(UserError, match=f"avg_factor={factor} must be a number of at least 0"):
        L1Loss()(PREDICTION, TARGET, avg_factor=factor)


@every_loss
def test_one_graph(loss):
    torch.compiler.reset()  # all share one `forward`, which has a limit
    case = make_case(loss, 4, 5)
    compiled = torch.compile(loss(), backend="eager", fullgraph=True)
    same(call(compiled, case, torch.ones(4, 1), avg_factor=3.0), call(loss(), case, torch.ones(4, 1), avg_factor=3.0))


@every_loss
def test_modules_are_plain_values(loss):
    module = pickle.loads(pickle.dumps(loss(reduction="sum", loss_weight=2.0)))
    assert repr(module) == repr(loss(reduction="sum", loss_weight=2.0))
    same(call(module, make_case(loss, 3)), 2 * call(loss(), make_case(loss, 3), reduction_override="sum"))
    assert "reduction='sum', loss_weight=2.0" in repr(module)
    with pytest.raises(TypeError):
        loss("sum")


@every_loss
def test_unknown_options(loss):
    with pytest.raises((TypeError, UserError), match="gama"):
        loss(gama=1.0)


def test_known_values():
    weight = torch.ones(2, 4)
    weight[1, 3] = 0
    assert L1Loss()(PREDICTION, TARGET) == 9 / 8
    assert L1Loss()(PREDICTION, TARGET, weight) == 8 / 8
    assert L1Loss()(PREDICTION.long(), TARGET.long()) == 9 / 8
    same(L1Loss()(PREDICTION, TARGET, weight, avg_factor=7), torch.tensor(8 / 7))
    same(L1Loss(loss_weight=2.0)(PREDICTION, TARGET, reduction_override="sum"), torch.tensor(18.0))


@weighted
def log_cosh_loss(prediction, target, *, scale: float = 1.0):
    """Be somebody's own loss."""
    assert prediction.dtype == torch.float32
    assert target.dtype == torch.float32
    return torch.log(torch.cosh((prediction - target) / scale))


class LogCoshLoss(WeightedLoss):
    function = staticmethod(log_cosh_loss)


def test_functions_of_your_own():
    expected = torch.log(torch.cosh(PREDICTION - TARGET))
    same(log_cosh_loss(PREDICTION.half(), TARGET.double(), reduction="none"), expected)
    same(log_cosh_loss(PREDICTION, TARGET, torch.zeros(4)), torch.zeros(()))
    same(LogCoshLoss()(PREDICTION, TARGET), expected.mean())
    same(LogCoshLoss(scale=2)(PREDICTION, TARGET), log_cosh_loss(PREDICTION / 2, TARGET / 2))
    with pytest.raises(UserError, match=r"LogCoshLoss.*no option `scal`: it takes scale\. Did you mean `scale`\?"):
        LogCoshLoss(scal=2)
    with pytest.raises(UserError, match=r"LogCoshLoss.*scale=0 must be a number above 0"):
        LogCoshLoss(scale=0)
    assert log_cosh_loss.__doc__ == "Be somebody's own loss."
    assert list(signature(log_cosh_loss).parameters) == [
        "prediction",
        "target",
        "weight",
        "avg_factor",
        "reduction",
        "scale",
    ]


def test_whole_numbers_as_targets_reach_your_function():
    @weighted
    def cross_entropy(prediction, target):
        return torch.nn.functional.cross_entropy(prediction, target, reduction="none")

    scores, classes = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    same(cross_entropy(scores, classes), torch.nn.functional.cross_entropy(scores, classes))


def test_reduction_alone():
    loss = torch.arange(6.0).view(2, 3)
    same(reduce_loss(loss), torch.tensor(2.5))
    same(reduce_loss(loss, torch.tensor([[1.0], [0.0]]), avg_factor=2), torch.tensor(1.5))
    same(reduce_loss(loss, avg_factor=torch.tensor([5])), torch.tensor(3.0))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reduction_inside_a_compilation(reduction, dtype):
    loss = torch.ones(30, 30, dtype=dtype)
    torch.compiler.reset()
    compiled = torch.compile(reduce_loss, backend="eager", fullgraph=True)
    same(compiled(loss, reduction=reduction), reduce_loss(loss, reduction=reduction))


def test_tuples_of_options():
    """As a config gives them."""
    assert OKSLoss(sigmas=[0.5, 1]).options == {"sigmas": (0.5, 1.0)}
    with pytest.raises(UserError, match=r"OKSLoss.*sigmas=\[0.5, 0\] must be a list of numbers above 0"):
        OKSLoss(sigmas=[0.5, 0])
