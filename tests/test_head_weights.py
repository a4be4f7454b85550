"""How the heads' losses become one: against the formulas, in training, and after a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_centernet import UserError
from lightning_centernet.head_weights import (
    FixedWeights,
    ScheduledWeights,
    UncertaintyWeights,
    make_weighting,
    plain_weighting,
)

WEIGHTS = {"hm": 1.0, "wh": 0.1, "reg": 0.75}
ALL = (True, True, True)
NAN, INF = float("nan"), float("inf")
BAD_SCHEDULES = [
    {}, {"soon": 1}, {-1: 1}, {0.5: 1}, {"0.5": 1}, {NAN: 1}, {INF: 1}, {0: NAN}, {0: INF}, {0: 1, 5: -0.1}, {0: None},
]  # fmt: skip


def losses(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


class TestFixed:
    def test_sum(self):
        values = losses(2.0, 30.0, 4.0)
        total = FixedWeights(WEIGHTS)(values, ALL)
        assert total.item() == pytest.approx(2 + 3 + 3)
        total.backward()
        torch.testing.assert_close(values.grad.float(), torch.tensor(list(WEIGHTS.values())))

    def test_checkpoint_does_not_hold_them(self):
        weighting = FixedWeights(WEIGHTS)
        assert not weighting.state_dict()
        assert not list(weighting.parameters())
        assert weighting.stats() == {}


class TestUncertainty:
    @pytest.mark.parametrize("form", ["kendall", "fairmot"])
    def test_formula(self, form):
        weighting = UncertaintyWeights(WEIGHTS, form).double()
        variances, values = [0.3, -0.8, 1.2], losses(2.0, 30.0, 4.0)
        weighting.log_variances.data.copy_(torch.tensor(variances))
        expected, gradients, slopes = 0.0, [], []
        for (name, weight), s, loss in zip(WEIGHTS.items(), variances, values.tolist(), strict=True):
            half = 1.0 if name == "hm" and form == "kendall" else 0.5  # 1 / sigma^2 of a softmax, 1 / (2 sigma^2)
            expected += half * math.exp(-s) * weight * loss + math.log(math.exp(s / 2))
            gradients.append(half * math.exp(-s) * weight)
            slopes.append(-half * math.exp(-s) * weight * loss + 0.5)
        total = weighting(values, ALL)
        total.backward()
        assert total.item() == pytest.approx(expected, rel=1e-6)
        assert values.grad.tolist() == pytest.approx(gradients, rel=1e-6)
        assert weighting.log_variances.grad.tolist() == pytest.approx(slopes, rel=1e-6)

    def test_heads_that_classify_are_named(self):
        first, second = UncertaintyWeights({"mine": 1.0}, classifying=["mine"]), UncertaintyWeights({"mine": 1.0})
        assert first(losses(3.0), (True,)).item() == 2 * second(losses(3.0), (True,)).item()

    def test_unknown_head_that_classifies(self):
        message = "weighting.classifying: there is no head `hmm`, only hm, wh, reg. Did you mean `hm`?"
        with pytest.raises(UserError, match=message):
            make_weighting({"name": "kendall", "classifying": ["hmm"]}, WEIGHTS)

    def test_gradient(self):
        weighting = UncertaintyWeights(WEIGHTS).double()

        def total(values, variances, present):
            return torch.func.functional_call(weighting, {"log_variances": variances}, (values, present))

        variances = torch.tensor([0.3, -0.8, 1.2], dtype=torch.float64, requires_grad=True)
        for present in (ALL, (True, False, True)):
            assert torch.autograd.gradcheck(total, (losses(2.0, 3.0, 4.0), variances, present))

    @pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
    def test_absent_head_keeps_its_variance_and_its_path(self, optimizer):
        weighting = UncertaintyWeights(WEIGHTS)
        step = optimizer(weighting.parameters(), lr=0.1)
        for _ in range(3):
            zero = nn.Parameter(torch.tensor(5.0))
            total = weighting(torch.stack([torch.tensor(2.0), zero * 0, torch.tensor(3.0)]), (True, False, True))
            step.zero_grad()
            total.backward()
            assert zero.grad == 0
            step.step()
        assert weighting.log_variances.grad[1] == 0
        moved = weighting.log_variances.detach() != 0
        assert moved.tolist() == [True, False, True]

    @pytest.mark.parametrize("form", ["kendall", "fairmot"])
    def test_variance_settles_where_the_weighted_losses_are_equal(self, form):
        """At the minimum every head adds as much to the total, and s is the logarithm of its loss."""
        weighting = UncertaintyWeights(WEIGHTS, form)
        optimizer = torch.optim.Adam(weighting.parameters(), lr=0.1)
        values = torch.tensor([0.2, 40.0, 3.0])
        for _ in range(500):
            optimizer.zero_grad()
            weighting(values, ALL).backward()
            optimizer.step()
        factors = torch.tensor([2.0 if form == "kendall" else 1.0, 1.0, 1.0])
        expected = (factors * torch.tensor(list(WEIGHTS.values())) * values).log()
        torch.testing.assert_close(weighting.log_variances.detach(), expected, rtol=0, atol=1e-2)

    def test_stats(self):
        weighting = UncertaintyWeights(WEIGHTS)
        weighting.log_variances.data.copy_(torch.tensor([1.0, 2.0, 3.0]))
        stats = weighting.stats()
        assert {name: value.item() for name, value in stats.items()} == {
            "log_variance/hm": 1.0, "log_variance/wh": 2.0, "log_variance/reg": 3.0,
        }  # fmt: skip
        assert not any(value.requires_grad for value in stats.values())
        weighting.log_variances.data.zero_()
        assert stats["log_variance/wh"] == 2


class TestSchedule:
    @pytest.mark.parametrize(
        ("interpolation", "expected"),
        [("step", [0, 0, 0, 0, 1, 1, 0.5, 0.5]), ("linear", [0, 0, 0, 0.5, 1, 0.75, 0.5, 0.5])],
    )
    def test_weight_over_epochs(self, interpolation, expected):
        epochs = {"wh": {6: 0.5, 2: 0, 4: 1.0}}
        weighting = ScheduledWeights(WEIGHTS, epochs, interpolation)
        for epoch, weight in enumerate(expected):
            weighting.start_epoch(epoch)
            total = weighting(losses(2.0, 30.0, 4.0), ALL).item()
            assert total == pytest.approx(2 + 30 * weight + 3)

    def test_begins_with_the_first_epoch(self):
        weighting = ScheduledWeights(WEIGHTS, {"hm": {0: 7, 1: 8}})
        assert weighting(losses(1.0, 0.0, 0.0), ALL).item() == 7

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "weighting.epochs=None: names no head; for example, add '.weighting.epochs.reg={0: 0.0, 5: 1.0}'"),
            ({"epochs": 3}, "weighting.epochs=3: names no head"),
            ({"epochs": {"rge": {0: 1}}}, "epochs: there is no head `rge`, only hm, wh, reg. Did you mean `reg`?"),
            ({"epochs": {"wh": 3}}, "weighting.epochs.wh=3: must map whole epochs to finite weights that are not neg"),
            *(
                ({"epochs": {"wh": schedule}}, f"weighting.epochs.wh={schedule}: must map whole epochs to finite w")
                for schedule in BAD_SCHEDULES
            ),
            ({"epochs": {"wh": {0: 1}}, "interpolation": "cosine"}, "interpolation=cosine: must be step or linear"),
        ],
    )
    def test_refusals(self, options, message):
        with pytest.raises(UserError, match=message):
            ScheduledWeights(WEIGHTS, **options)

    @pytest.mark.parametrize("epoch", [4, 4.0, "4"])
    def test_whole_epochs(self, epoch):
        assert ScheduledWeights(WEIGHTS, {"hm": {0: 0, epoch: 1}}).epochs == {"hm": {0: 0, 4: 1}}


class TestByName:
    @pytest.mark.parametrize(("name", "kind"), [("fixed", FixedWeights), ("kendall", UncertaintyWeights)])
    def test_name(self, name, kind):
        for spec in (name, {"name": name}, plain_weighting(name)):
            assert type(make_weighting(spec, WEIGHTS)) is kind

    def test_forms_differ(self):
        kendall, fairmot = (make_weighting(name, WEIGHTS)(losses(2.0, 0, 0), ALL) for name in ("kendall", "fairmot"))
        assert kendall.item() == 2 * fairmot.item()

    def test_schedule_in_plain_values(self):
        spec = {"name": "scheduled", "epochs": {"wh": {0: 0.0, 5: 1.0}}, "interpolation": "linear"}
        plain = plain_weighting(spec)
        assert plain["epochs"] == {"wh": {"0": 0.0, "5": 1.0}}  # a checkpoint's keys are words
        assert make_weighting(plain, WEIGHTS).epochs == make_weighting(spec, WEIGHTS).epochs

    def test_module_by_hand(self):
        own = nn.Identity()
        assert make_weighting(own, WEIGHTS) is own
        assert plain_weighting(own) is None

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("kendal", "weighting=kendal: must be one of fixed, kendall, fairmot, scheduled. Did you mean `kendall`?"),
            ({"name": "fixed", "epochs": {}}, "weighting=fixed has no option `epochs`: it takes none$"),
            ({"name": "scheduled", "epoch": {}}, "it takes epochs, interpolation. Did you mean `epochs`?"),
            ({}, "weighting=None: must be one of"),
        ],
    )
    def test_refusals(self, spec, message):
        with pytest.raises(UserError, match=message):
            make_weighting(spec, WEIGHTS)
