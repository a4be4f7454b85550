"""What every head's loss must do; a new one in STANDARD is tested unasked."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet import GenericLoss, UserError, encode, standard_heads
from lightning_centernet.heads import STANDARD, Heatmap
from lightning_centernet.testing import fake_batch, fake_outputs

OPEN = {"hm": 3, "hps": 10, "hm_hp": 5}  # channels of the heads whose number depends on the data
HEADS = standard_heads({name: standard.channels or OPEN.get(name, 3) for name, standard in STANDARD.items()})
EXTRA = standard_heads(
    {
        "hm": {"channels": 3, "focal": "dense"},
        "wh": {"channels": 6, "class_specific": True},
        "dep": {"channels": 3},
        "dep_sec": {"activation": "linear"},
        "rot": {"average": "slots"},
        "reg": {"loss": "smooth_l1"},
        "tracking": {"average": "slots"},
        "ltrb": {"loss": "mse"},
        "speed": {"kind": "regression", "channels": 2},
    }
)
ORDER = [
    "hm", "wh", "reg", "ltrb", "hps", "hm_hp", "hp_offset", "dep", "dep_sec", "dim", "rot", "rot_sec", "amodel_offset",
    "ltrb_amodal", "tracking", "nuscenes_att", "velocity",
]  # fmt: skip
MAPS = standard_heads({"hm": {"channels": 3, "mse": True}, "wh": {"dense": True}, "hps": {"channels": 10}})
EACH = [*HEADS.values(), *EXTRA.values(), *MAPS.values()]
EACH_HEAD = pytest.mark.parametrize("head", EACH, ids=lambda head: head.name)


def batch_of(head, **options):
    """Make a batch with the targets of all heads; `head` in place of the one of its name."""
    return fake_batch(HEADS | {head.name: head}, **options)


def without_labels(batch):
    unlabelled = {key: torch.zeros_like(value) for key, value in batch.items() if key.endswith("mask")}
    return batch | unlabelled | {"rotbin": torch.zeros_like(batch["rotbin"])}


def loss_of(head, outputs, batch):
    return GenericLoss({head.name: head})(outputs, batch)[1][head.name]


def clones(tensors):
    return {name: value.clone() for name, value in tensors.items()}


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("objects", [0, 1, 4])
@EACH_HEAD
def test_finite_float32_and_attached(head, objects, labelled):
    batch = batch_of(head, objects=objects)
    outputs = {head.name: fake_outputs({head.name: head})[head.name].requires_grad_()}
    loss = loss_of(head, outputs, batch if labelled else without_labels(batch))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert outputs[head.name].grad is not None
    assert outputs[head.name].grad.isfinite().all()
    if objects and labelled:
        assert outputs[head.name].grad.abs().sum() > 0


@pytest.mark.parametrize("head", [head for head in EACH if head.at != "map"], ids=lambda head: head.name)
def test_nothing_labelled_costs_nothing(head):
    loss = loss_of(head, fake_outputs({head.name: head}), without_labels(batch_of(head)))
    floor = 2 * torch.log(torch.tensor(2.0)) if getattr(head, "average", None) == "slots" and "rot" in head.name else 0
    torch.testing.assert_close(loss, torch.as_tensor(floor, dtype=torch.float32))


@EACH_HEAD
def test_inputs_stay_as_they_are(head):
    batch, outputs = batch_of(head), fake_outputs({head.name: head})
    kept_batch, kept_outputs, raw = clones(batch), clones(outputs), outputs[head.name]
    loss = loss_of(head, outputs, batch)
    torch.testing.assert_close(loss_of(head, outputs, batch), loss, rtol=0, atol=0)
    assert outputs[head.name] is raw
    assert set(batch) == set(kept_batch)
    for kept, now in ((kept_batch, batch), (kept_outputs, outputs)):
        for name, value in kept.items():
            torch.testing.assert_close(now[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EACH_HEAD
def test_half_precision_logits(head, dtype):
    """The loss of rounded logits is that of the same logits in float32, with autocast on or off."""
    batch = batch_of(head)
    generator = torch.Generator().manual_seed(1)
    logits = (100 * torch.rand(fake_outputs({head.name: head})[head.name].shape, generator=generator) - 50).to(dtype)
    half, full = logits.clone().requires_grad_(), logits.float().requires_grad_()
    expected = loss_of(head, {head.name: full}, batch)
    expected.backward()
    with torch.autocast("cpu", dtype=dtype):
        loss = loss_of(head, {head.name: half}, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    # The gradient of a heat map may be rounded twice: where it is made, and where it is scaled.
    tolerance = 2 * torch.finfo(dtype).eps if isinstance(head, Heatmap) else 0
    torch.testing.assert_close(half.grad, full.grad.to(dtype), rtol=tolerance, atol=torch.finfo(dtype).tiny)


@EACH_HEAD
def test_memory_layout_does_not_matter(head):
    batch, outputs = batch_of(head), fake_outputs({head.name: head})
    logits = outputs[head.name]
    expected = loss_of(head, outputs, batch)
    wide = torch.stack([logits, torch.full_like(logits, torch.nan)], dim=-1)[..., 0]
    assert not wide.is_contiguous()
    for other in (logits.contiguous(memory_format=torch.channels_last), wide, logits.mT.contiguous().mT):
        torch.testing.assert_close(loss_of(head, {head.name: other}, batch), expected, rtol=1e-5, atol=1e-6)


@EACH_HEAD
def test_batch_is_the_mean_of_images_with_equally_many_objects(head):
    one, images = batch_of(head, batch_size=1), 3
    outputs = fake_outputs({head.name: head}, batch_size=images)[head.name]
    together = {key: value.expand(images, *value.shape[1:]) for key, value in one.items()}
    singles = torch.stack([loss_of(head, {head.name: outputs[i : i + 1]}, one) for i in range(images)])
    # the originals add 1e-4 to the number of labels
    torch.testing.assert_close(loss_of(head, {head.name: outputs}, together), singles.mean(), rtol=1e-4, atol=1e-6)


@EACH_HEAD
def test_stacks_are_averaged(head):
    batch = batch_of(head)
    stacks = [fake_outputs({head.name: head}, seed=seed) for seed in (1, 2, 3)]
    expected = torch.stack([loss_of(head, stack, batch) for stack in stacks]).mean()
    torch.testing.assert_close(loss_of(head, stacks, batch), expected)
    torch.testing.assert_close(loss_of(head, tuple(stacks), batch), expected)


def test_one_dict_is_one_stack():
    batch, outputs = fake_batch(HEADS), fake_outputs(HEADS)
    tot, stats = GenericLoss(HEADS)(outputs, batch)
    other_tot, other_stats = GenericLoss(HEADS)([outputs], batch)
    assert tot == other_tot
    assert stats == other_stats


def test_entries_stand_in_the_order_of_the_originals():
    assert list(STANDARD) == ORDER
    backwards = dict(reversed(HEADS.items()))
    _, stats = GenericLoss(backwards)(fake_outputs(backwards), fake_batch(backwards))
    assert list(stats) == ["tot", *ORDER]


def test_total_is_the_sum_with_the_default_weights():
    tot, stats = GenericLoss(HEADS)(fake_outputs(HEADS), fake_batch(HEADS))
    weights = dict.fromkeys(ORDER, 1.0) | {"wh": 0.1, "ltrb": 0.1, "ltrb_amodal": 0.1}
    torch.testing.assert_close(tot, torch.stack([weights[name] * stats[name] for name in ORDER]).sum())
    assert stats["tot"] == tot


def test_weights_change_the_total_alone():
    channels = {"hm": 3, "wh": 2, "reg": 2}
    outputs, batch = fake_outputs(channels), fake_batch(channels)
    _, plain = GenericLoss(channels)(outputs, batch)
    tot, stats = GenericLoss(standard_heads(channels, weights={"wh": 0.05, "reg": 3}))(outputs, batch)
    assert stats["wh"] == plain["wh"]
    torch.testing.assert_close(tot, plain["hm"] + 0.05 * plain["wh"] + 3 * plain["reg"])


@pytest.mark.parametrize("name", ["hm", "hm_hp"])
@pytest.mark.parametrize("focal", ["sparse", "dense"])
@pytest.mark.parametrize("clamp", [False, True])
def test_gradient_of_confident_mistakes(name, focal, clamp):
    """Beyond a probability of 1e-4 the gradient is alive by default, and stops with `clamp`; the value is the same."""
    heads = standard_heads({"hm": 3, "hm_hp": 5}, focal=focal, clamp=clamp)
    batch = fake_batch(heads)
    peaks = batch[name] == 1
    logits = torch.where(peaks, -15.0, 15.0).requires_grad_()
    loss = loss_of(heads[name], {name: logits}, batch)
    loss.backward()
    wrong = peaks | (batch[name] < 0.9)
    alive = logits.grad[wrong] != 0
    assert alive.any() != clamp
    assert alive.all() != clamp
    other = standard_heads({"hm": 3, "hm_hp": 5}, focal=focal, clamp=not clamp)[name]
    torch.testing.assert_close(loss_of(other, {name: logits.detach()}, batch), loss.detach())


def test_sparse_and_dense_focal_agree_on_objects_in_cells_of_their_own():
    boxes = [[[8, 8, 40, 24], [60, 20, 90, 70], [10, 60, 30, 90]], [[0, 0, 50, 90], [70, 8, 80, 16], [0, 0, 0, 0]]]
    labels, mask = torch.tensor([[0, 1, 1], [0, 0, 0]]), torch.tensor([[True, True, True], [True, True, False]])
    channels = {"hm": 2}
    batch = encode({"boxes": torch.tensor(boxes).float(), "labels": labels, "mask": mask}, channels, (24, 32))
    outputs = fake_outputs(channels)
    losses = [loss_of(standard_heads(channels, focal=focal)["hm"], outputs, batch) for focal in ("sparse", "dense")]
    torch.testing.assert_close(*losses)


class TestErrors:
    def test_missing_output(self):
        with pytest.raises(UserError, match="no output for head `wh`, only hm"):
            GenericLoss({"hm": 3, "wh": 2})(fake_outputs({"hm": 3}), fake_batch({"hm": 3, "wh": 2}))

    def test_wrong_channels(self):
        with pytest.raises(UserError, match=r"head `wh` has 2 channels, but its output has shape \(2, 4, 24, 32\)"):
            GenericLoss({"wh": 2})({"wh": torch.zeros(2, 4, 24, 32)}, fake_batch({"wh": 2}))

    @EACH_HEAD
    def test_missing_target(self, head):
        places = {"ind": torch.zeros(2, 8).long(), "hp_ind": torch.zeros(2, 40).long()}
        with pytest.raises(UserError, match="no head finds its target in the batch, which holds hp_ind, ind"):
            loss_of(head, fake_outputs({head.name: head}), places)

    def test_target_without_its_mask(self):
        batch = fake_batch({"hm": 3, "wh": 2})
        del batch["wh_mask"]
        with pytest.raises(UserError, match="head `wh` finds no `wh_mask` in the batch, which holds cat, hm"):
            GenericLoss({"hm": 3, "wh": 2})(fake_outputs({"hm": 3, "wh": 2}), batch)

    def test_another_grid(self):
        with pytest.raises(UserError, match=r"`hm` has.*check the number of classes, the input size and the stride"):
            GenericLoss({"hm": 3})(fake_outputs({"hm": 3}), fake_batch({"hm": 3}, grid=(12, 16)))

    def test_another_number_of_values(self):
        batch = fake_batch({"velocity": 3})
        with pytest.raises(UserError, match=r"velocity.*\(2, 8, 2\)"):
            GenericLoss({"velocity": 3})(fake_outputs({"velocity": 3}), batch | {"velocity": torch.zeros(2, 8, 2)})

    def test_target_without_its_last_axis(self):
        """(B, M) against (B, M, 1) must not broadcast to (B, M, M)."""
        batch = fake_batch({"dep": 1}, batch_size=1)
        with pytest.raises(UserError, match=r"dep.*\(1, 8\)"):
            GenericLoss({"dep": 1})(fake_outputs({"dep": 1}, batch_size=1), batch | {"dep": batch["dep"].squeeze(-1)})
