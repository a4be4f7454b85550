"""The fused focal loss: equal to the papers' formula in float64, however it is run."""

from __future__ import annotations

import logging
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses import FocalLoss, Listed, focal_pass, kernel
from lightning_centernet.losses.focal_pass import CompiledOnce
from tests.losses.slow import positions, slow_focal

LAYOUTS = ["contiguous", "channels_last", "mixed", "sliced", "transposed"]


class Case(NamedTuple):
    logits: Tensor
    heatmap: Tensor
    listed: Listed


def case(seed=0, shape=(2, 3, 7, 5), slots=4, dtype=torch.float32, scale=3.0) -> Case:
    batch, classes, height, width = shape
    random = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(shape, generator=random) - 2).to(dtype)
    heatmap = torch.rand(shape, generator=random) ** 8
    heatmap[torch.rand(shape, generator=random) > 0.9] = 1  # with and without an object
    cells = torch.randint(height * width, (batch, slots), generator=random)
    channels = torch.randint(classes, (batch, slots), generator=random)
    mask = (torch.rand(batch, slots, generator=random) > 0.3).float()
    cells[:, 1:2], channels[:, 1:2] = cells[:, :1], channels[:, :1]  # two objects in one cell
    return Case(logits, heatmap, Listed(cells, channels, mask))


def laid_out(values: Tensor, layout: str) -> Tensor:
    if layout in ("channels_last", "mixed"):
        return values.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        return torch.stack([values, torch.full_like(values, torch.nan)], dim=-1)[..., 0]
    return values.mT.contiguous().mT if layout == "transposed" else values


def loss_and_gradient(case: Case, loss: FocalLoss, sparse: bool, dtype=None) -> tuple[Tensor, Tensor]:
    logits = case.logits.detach() if dtype is None else case.logits.detach().to(dtype)
    logits.requires_grad_()
    ratio = loss.sparse(logits, case.heatmap, case.listed) if sparse else loss.dense(logits, case.heatmap)
    mean = ratio.mean()
    mean.backward()
    return mean.detach(), logits.grad


def by_formula(case: Case, loss: FocalLoss, sparse: bool) -> tuple[Tensor, Tensor]:
    logits = case.logits.detach().double().requires_grad_()
    positives = positions(*case.listed, logits.shape[3]) if sparse else (case.heatmap == 1).nonzero().tolist()
    mean = slow_focal(logits, case.heatmap, positives, loss.alpha, loss.beta, loss.clamp)
    mean.backward()
    return mean.detach(), logits.grad


def assert_exact(case: Case, loss: FocalLoss, sparse: bool):
    actual, gradient = loss_and_gradient(case, loss, sparse)
    expected, exact = by_formula(case, loss, sparse)
    assert actual.dtype == (torch.float64 if case.logits.dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-7)
    # Half types round where the gradient is made and where it is scaled.
    error = max(1e-5, 2 * torch.finfo(case.logits.dtype).eps)
    torch.testing.assert_close(gradient.double(), exact, rtol=error, atol=error * float(exact.abs().max()) + 1e-10)
    assert gradient.dtype == case.logits.dtype


choices = st.builds(
    FocalLoss,
    alpha=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0]),
    beta=st.sampled_from([0.0, 0.5, 1.0, 2.5, 4.0, 6.0]),
    clamp=st.booleans(),
)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    slots=st.integers(0, 5),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    scale=st.sampled_from([1.0, 5.0, 25.0]),
    loss=choices,
    sparse=st.booleans(),
)
def test_equals_the_formula(seed, shape, slots, dtype, scale, loss, sparse):
    assert_exact(case(seed, shape, slots, dtype, scale), loss, sparse)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_in_blocks_of_any_memory_layout(monkeypatch, sparse, layout, dtype):
    """As large maps are done where nothing is compiled."""
    monkeypatch.setattr(kernel, "BLOCK", 13)
    given = case(dtype=dtype)
    heatmap = given.heatmap if layout == "mixed" else laid_out(given.heatmap, layout)
    assert_exact(Case(laid_out(given.logits, layout), heatmap, given.listed), FocalLoss(), sparse)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradient_has_the_layout_of_the_logits(layout):
    given = case()
    logits = laid_out(given.logits, layout)
    _, gradient = loss_and_gradient(given._replace(logits=logits), FocalLoss(), sparse=True)
    assert gradient.stride() == logits.stride()


@pytest.mark.parametrize("beta", [4.0, 0.0])
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("sparse", [True, False])
def test_formula_that_is_compiled(monkeypatch, sparse, clamp, beta):
    """It avoids functions that are slow in compiled loops; here it runs as it is written."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    given, loss = case(scale=8.0), FocalLoss(beta=beta, clamp=clamp)
    gradient = torch.empty_like(given.logits)
    maps = focal_pass.Maps(given.logits, given.heatmap, given.listed if sparse else None)
    total, count = focal_pass.one_pass(maps, loss, gradient)
    monkeypatch.undo()
    expected, exact = by_formula(given, loss, sparse)
    assert count == (given.listed.mask.sum() if sparse else (given.heatmap == 1).sum()) > 0
    torch.testing.assert_close((total / count).double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close((gradient / count).double(), exact, rtol=2e-6, atol=1e-9)


def test_count_is_no_nan_where_a_cell_is(monkeypatch):
    """Other processes divide by it too."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    given = case()
    given.logits[0, 0, 0, 0] = torch.nan
    total, count = focal_pass.one_pass(focal_pass.Maps(given.logits, given.heatmap, None), FocalLoss())
    assert total.isnan()
    assert count == (given.heatmap == 1).sum() > 0


class TestCompiling:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch):
        """Compile small maps too, and forget what was compiled."""
        monkeypatch.setattr(kernel, "WORTH_COMPILING", 1)
        monkeypatch.setattr(focal_pass, "_over_map", CompiledOnce(focal_pass._run, "the focal loss"))

    def test_same_numbers(self, caplog):
        with caplog.at_level(logging.INFO):
            for seed, shape in enumerate([(2, 3, 7, 5), (1, 4, 33, 17)]):  # the second must not compile again
                assert_exact(case(seed, shape), FocalLoss(), sparse=True)
        assert [record.message for record in caplog.records if "compil" in record.message] == [
            "compiling the focal loss, once; this can take half a minute"
        ]

    @pytest.mark.parametrize("values", [(-2.19,), (9.0,), (-4.6, -2.19), (0.0, -8.0)])
    def test_many_equal_cells(self, values):
        """Where they are added one after the other, each is rounded the same way."""
        given = case(shape=(2, 3, 352, 192))
        given.heatmap[:, :, 20:] = 0
        logits = torch.tensor(values).repeat_interleave(352 // len(values)).view(352, 1).expand_as(given.logits)
        assert_exact(given._replace(logits=logits.contiguous()), FocalLoss(), sparse=True)

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("sparse", [True, False])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_scaled_differently_than_expected(self, monkeypatch, dtype, sparse, layout):
        """By another number than that of the objects."""
        monkeypatch.setattr(focal_pass, "LONG", 1)
        given = case(dtype=dtype)
        given = given._replace(logits=laid_out(given.logits, layout), heatmap=laid_out(given.heatmap, layout))
        logits = given.logits.detach().requires_grad_()
        ratio = FocalLoss().sparse(logits, *given[1:]) if sparse else FocalLoss().dense(logits, given.heatmap)
        (0.1 * ratio.mean()).backward()
        _, exact = by_formula(given, FocalLoss(), sparse)
        error = max(1e-5, 2 * torch.finfo(dtype).eps)
        torch.testing.assert_close(logits.grad.double(), 0.1 * exact, rtol=error, atol=error * float(exact.abs().max()))

    def test_without_a_compiler(self, monkeypatch, caplog):
        def fail(*arguments):
            raise RuntimeError("no C++ compiler found\nand a long story")

        monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
        with caplog.at_level(logging.INFO):
            for sparse in (True, False):
                assert_exact(case(), FocalLoss(), sparse)
        messages = [record.message for record in caplog.records]
        assert messages[1:] == [
            "the focal loss stays uncompiled, slower and with the same results: no C++ compiler found"
        ]
        assert all(record.levelno == logging.INFO for record in caplog.records)

    def test_without_memory(self, monkeypatch):
        """It would not help to go without a compiler for the rest of the run."""

        def fail(*arguments):
            raise torch.OutOfMemoryError

        monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
        with pytest.raises(torch.OutOfMemoryError):
            loss_and_gradient(case(), FocalLoss(), sparse=True)
        assert not focal_pass._over_map.failed

    def test_arguments_that_are_wrong(self, monkeypatch):
        """They say nothing about the compiler."""
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
        add = CompiledOnce(lambda maps: maps[0] + maps[1], "a sum")
        with pytest.raises(RuntimeError, match="must match the size"):
            add([torch.ones(2), torch.ones(3)])
        assert not add.failed
        assert add([torch.ones(2), torch.ones(2)]).tolist() == [2, 2]

    def test_switched_off(self):
        with torch.compiler.set_stance("force_eager"):
            assert_exact(case(), FocalLoss(), sparse=True)

    @pytest.mark.parametrize("sparse", [True, False])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_inside_an_outer_compilation(self, dtype, sparse):
        given, loss = case(dtype=dtype), FocalLoss(clamp=True)

        @torch.compile(fullgraph=True, backend="aot_eager")
        def outer(logits):
            ratio = loss.sparse(logits, given.heatmap, given.listed) if sparse else loss.dense(logits, given.heatmap)
            return ratio.mean() * 1024

        logits = given.logits.clone().requires_grad_()
        value = outer(logits)
        value.backward()
        expected, exact = by_formula(given, loss, sparse)
        torch.testing.assert_close(value.detach().double(), 1024 * expected, rtol=1e-5, atol=0)
        # In float16 the factor comes before rounding.
        torch.testing.assert_close(
            logits.grad.double(), 1024 * exact, rtol=max(1e-5, torch.finfo(dtype).eps), atol=1e-6
        )

    def test_second_derivative_inside_an_outer_compilation(self):
        given = case()

        def curvature(logits):
            def value(logits):
                return FocalLoss().sparse(logits, given.heatmap, given.listed).mean()

            return torch.func.grad(lambda logits: torch.func.grad(value)(logits).square().sum())(logits)

        found = torch.compile(curvature, backend="aot_eager")(given.logits)
        assert found.any()
        torch.testing.assert_close(found, curvature(given.logits))

    @pytest.mark.parametrize("sparse", [True, False])
    @pytest.mark.parametrize("logit", [0.0, 1e-4, 9.0, -1e6])
    def test_functional_derivative_inside_an_outer_compilation(self, logit, sparse):
        """Also where the parts of a formula have a kink."""
        given = case()
        given = given._replace(logits=torch.full_like(given.logits, logit))

        def value(logits):
            loss = FocalLoss()
            return (loss.sparse(logits, *given[1:]) if sparse else loss.dense(logits, given.heatmap)).mean()

        found = torch.compile(torch.func.grad(value), backend="aot_eager")(given.logits)
        _, exact = by_formula(given, FocalLoss(), sparse)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 35), (2, 3, 7, 4)])
def test_maps_of_two_shapes(shape):
    given = case()
    for loss in (lambda *maps: FocalLoss().sparse(*maps, given.listed), FocalLoss().dense):
        with pytest.raises(UserError, match=r"logits \(2, 3, 7, 5\) and heat map \(2, 3, .*must have one shape"):
            loss(given.logits, torch.zeros(shape))


def test_twice_over_a_kept_graph():
    given = case()
    logits = given.logits.clone().requires_grad_()
    loss = FocalLoss().sparse(logits, given.heatmap, given.listed).mean()
    loss.backward(retain_graph=True)
    once = logits.grad.clone()
    loss.backward()
    torch.testing.assert_close(logits.grad, 2 * once)


@pytest.mark.parametrize("sparse", [True, False])
def test_second_derivative(sparse):
    def curvature(dtype):
        given = case()
        logits = given.logits.to(dtype).requires_grad_()
        ratio = FocalLoss().sparse(logits, *given[1:]) if sparse else FocalLoss().dense(logits, given.heatmap)
        (gradient,) = torch.autograd.grad(ratio.mean(), logits, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), logits)[0]

    torch.testing.assert_close(curvature(torch.float32).double(), curvature(torch.float64), rtol=1e-4, atol=1e-6)


def test_functional_transforms():
    given = case()

    def loss(logits, heatmap, listed):
        return FocalLoss().sparse(logits.unsqueeze(0), heatmap.unsqueeze(0), Listed(*(t.unsqueeze(0) for t in listed)))

    _, expected = loss_and_gradient(given, FocalLoss(), sparse=True)
    per_image = torch.func.vmap(torch.func.grad(lambda *arguments: loss(*arguments).total))(*given)
    torch.testing.assert_close(per_image / given.listed.mask.sum(), expected)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_for_all_logits(sparse, dtype):
    sweep = torch.linspace(-50, 50, 404).view(1, 1, 1, -1).expand(1, 2, 2, -1)
    heatmap = torch.tensor([0.0, 0.3, 0.999, 1.0]).view(1, 2, 2, 1).expand(1, 2, 2, 404).contiguous()
    cells = torch.arange(0, 808, 7).unsqueeze(0)
    listed = Listed(cells, cells % 2, torch.ones(cells.shape))
    assert_exact(Case(sweep.to(dtype), heatmap, listed), FocalLoss(), sparse)


def test_gradients_of_easy_cells_survive_in_float16():
    """The scale of the loss comes before the rounding: afterwards it would multiply zeros."""
    logits = torch.full((1, 1, 4, 4), -6.0, dtype=torch.float16).requires_grad_()
    nothing = Listed(torch.zeros(1, 100).long(), torch.zeros(1, 100).long(), torch.ones(1, 100))
    heatmap = torch.zeros(1, 1, 4, 4)
    loss = FocalLoss().sparse(logits, heatmap, nothing).mean()
    (65536 * loss).backward()
    exact = logits.detach().double().requires_grad_()
    (65536 * FocalLoss().sparse(exact, heatmap, nothing).mean()).backward()
    easy = logits.grad.flatten()[1:]
    assert (easy > 0).all()
    torch.testing.assert_close(easy.double(), exact.grad.flatten()[1:], rtol=1e-2, atol=0)
    (plain,) = torch.autograd.grad(FocalLoss().sparse(logits, heatmap, nothing).mean(), logits)
    assert (plain.flatten()[1:] == 0).all()  # what scaling afterwards would have started from


def test_the_same_bits_every_time():
    torch.use_deterministic_algorithms(True)
    try:
        given = case(shape=(2, 4, 40, 40), slots=300)
        first, second = (loss_and_gradient(given, FocalLoss(), sparse=True) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_hopeless_objects_still_learn_unless_clamped():
    logits = torch.full((1, 1, 1, 1), -18.4)
    given = Case(
        logits,
        torch.ones(1, 1, 1, 1),
        Listed(torch.zeros(1, 1).long(), torch.zeros(1, 1).long(), logits.new_ones(1, 1)),
    )
    for clamp in (False, True):
        _, gradient = loss_and_gradient(given, FocalLoss(clamp=clamp), sparse=True)
        assert (gradient < 0).item() != clamp
