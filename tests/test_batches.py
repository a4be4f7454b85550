"""Several data sets at once, through Lightning's CombinedLoader: one of them lacks the targets of a head."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.optim import SGD
from torch.utils.data import DataLoader

from lightning_centernet import CenterNet, UserError
from lightning_centernet.batches import add_losses, batches_of, each_batch
from lightning_centernet.data import coco_data
from lightning_centernet.testing import fake_batch
from tests.fakes import coco_content, write_coco
from tests.tiny import DETECTION, logged, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")
SPEED = DETECTION | {"speed": {"kind": "regression", "channels": 1}}


class TestStructure:
    @pytest.mark.parametrize("key", ["image", "input"])
    def test_one_batch(self, key):
        batch = {key: 1, "annotations": {}, "file": ["a"]}
        assert batches_of(batch) == [batch]
        assert each_batch(batch, id) == id(batch)

    @pytest.mark.parametrize("wrap", [list, tuple, lambda them: dict(zip("abc", them, strict=False))])
    def test_several(self, wrap):
        first, second = {"image": 1}, {"image": 2}
        several = wrap([first, second])
        assert batches_of(several) == [first, second]
        doubled = each_batch(several, lambda batch: batch["image"] * 2)
        assert list(doubled.values() if isinstance(doubled, dict) else doubled) == [2, 4]

    def test_one_that_has_ended(self):
        assert batches_of([{"image": 1}, None]) == [{"image": 1}]
        assert each_batch([None, {"image": 1}], len) == [None, 1]

    def test_nested(self):
        first, second, third = ({"image": number} for number in range(3))
        assert batches_of({"a": [first, second], "b": third}) == [first, second, third]

    @pytest.mark.parametrize("batch", [[torch.zeros(2), torch.ones(2)], torch.zeros(2), {"x": torch.zeros(2)}])
    def test_what_is_no_batch_of_ours(self, batch):
        assert batches_of(batch) == [batch]

    def test_sum(self):
        one = {"tot": torch.tensor(3.0), "hm": torch.tensor(1.0), "log_variance/hm": torch.tensor(7.0)}
        tot, stats = add_losses([(one["tot"], one), (one["tot"] * 2, one | {"hm": torch.tensor(5.0)})], ["hm"])
        assert tot == 9
        assert {name: value.item() for name, value in stats.items()} == {"tot": 6, "hm": 6, "log_variance/hm": 7}


def images(number, batches, **options):
    """Fake batches without targets of `wh` for an odd number."""
    made = [fake_batch(DETECTION, seed=10 * number + seed, **options) for seed in range(batches)]
    for batch in made if number % 2 else ():
        del batch["wh"]
    return DataLoader(made, batch_size=None)


class Recorder(CenterNet):
    def training_step(self, batch, batch_idx):
        self.seen = [*getattr(self, "seen", []), len(batches_of(batch))]
        return super().training_step(batch, batch_idx)


class TestModes:
    """Data sets of 4 and 2 batches, in all modes that Lightning trains with."""

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [("max_size_cycle", [2] * 4), ("min_size", [2] * 2), ("max_size", [2, 2, 1, 1])],
    )
    @pytest.mark.parametrize("wrap", [list, lambda loaders: dict(zip("ab", loaders, strict=True))])
    def test_fit(self, mode, expected, wrap):
        model, trainer = tiny_model(kind=Recorder), quiet_trainer()
        trainer.fit(model, CombinedLoader(wrap([images(0, 4), images(1, 2, batch_size=3)]), mode))
        assert model.seen == expected
        assert logged(trainer, "train") == {"tot", *DETECTION}
        assert all(value.isfinite() for value in trainer.callback_metrics.values())

    def test_step_is_that_of_the_added_losses(self):
        model = tiny_model(optimizer=partial(SGD, lr=0.1))
        first, second = images(0, 1), images(1, 1)
        twin = tiny_model(optimizer=partial(SGD, lr=0.1))
        totals = [twin.criterion(twin(loader.dataset[0]["image"]), loader.dataset[0]) for loader in (first, second)]
        sum(tot for tot, _ in totals).backward()
        SGD(twin.parameters(), lr=0.1).step()
        trainer = quiet_trainer()
        trainer.fit(model, {"a": first, "b": second})
        for value, other in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(value, other)
        for name in ("tot", *DETECTION):
            expected = sum(stats[name] for _, stats in totals).detach()
            torch.testing.assert_close(trainer.callback_metrics[f"train/{name}"], expected)

    def test_only_the_data_set_with_targets_moves_a_head(self):
        """After batches without `wh` its head is as it was."""
        model = tiny_model(optimizer=partial(SGD, lr=0.1))
        before = [parameter.clone() for parameter in model.network.stacks[0].wh.parameters()]
        model.on_train_epoch_end = lambda: None
        quiet_trainer().fit(model, [images(1, 2), images(3, 2)])
        for value, old in zip(model.network.stacks[0].wh.parameters(), before, strict=True):
            assert torch.equal(value, old)
            assert value.grad is not None  # DDP waits for it
            assert not value.grad.any()


class TestOneLoaderOfMixedBatches:
    @pytest.mark.parametrize(
        ("options", "stops"), [({}, True), ({"fast_dev_run": True}, False), ({"max_steps": 1}, False)]
    )
    def test_head_without_targets(self, options, stops):
        """A whole epoch tells; less does not."""
        trainer = quiet_trainer(**options)
        with pytest.raises(UserError, match="head `wh`") if stops else nullcontext():
            trainer.fit(tiny_model(), images(1, 2))

    def test_some_batches_suffice(self):
        mixed = DataLoader([*images(1, 2).dataset, *images(0, 1).dataset], batch_size=None)
        trainer = quiet_trainer()
        trainer.fit(tiny_model(), mixed)
        assert trainer.global_step == 3


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Pictures whose objects have a speed, and pictures whose objects have none."""
    options = {"input_size": (64, 96), "batch_size": 2, "num_workers": 0}

    def make(name, fields):
        content = coco_content()
        for number, annotation in enumerate(content["annotations"]) if fields else ():
            annotation["speed"] = 0.5 * number
        file, folder = write_coco(tmp_path_factory.mktemp(name), content=content)
        files = {"train_annotations": file, "train_images": folder, "val_annotations": file}
        return coco_data(**files, fields=fields, **options)

    return make("with", ["speed"]), make("without", [])


def speed_model(data, heads=SPEED):
    return tiny_model(heads, classes=data.classes, input_size=(64, 96), optimizer=partial(SGD, lr=0.1))


class TestAnnotations:
    @pytest.mark.parametrize("mode", ["max_size_cycle", "min_size", "max_size"])
    @pytest.mark.parametrize("validated", [0, 1])
    def test_fit(self, sets, mode, validated, caplog):
        model, trainer = speed_model(sets[0]), quiet_trainer(max_epochs=2)
        loaders = CombinedLoader([each.train_dataloader() for each in sets], mode)
        with caplog.at_level(logging.WARNING, "lightning_centernet"):
            trainer.fit(model, loaders, sets[validated].val_dataloader())
        assert logged(trainer, "train") == {"tot", *SPEED}
        warned = [record.getMessage() for record in caplog.records if record.name.startswith("lightning_centernet")]
        assert warned == ["head `speed` learns nothing from batches without `speed`; said once"]

    def test_a_single_data_set_must_have_the_field(self, sets):
        with pytest.raises(UserError, match="head `speed` needs the annotation field `speed`"):
            quiet_trainer().fit(speed_model(sets[1]), sets[1].train_dataloader())

    def test_so_must_its_validation(self, sets):
        with pytest.raises(UserError, match="head `speed` needs the annotation field `speed`"):
            quiet_trainer().fit(speed_model(sets[0]), sets[0].train_dataloader(), sets[1].val_dataloader())

    @pytest.mark.parametrize("measure", ["validate", "test"])
    def test_what_a_data_set_lacks_is_not_measured(self, sets, measure):
        model, trainer = speed_model(sets[1]), quiet_trainer()
        trainer.fit(model, sets[0].train_dataloader())  # on one data set that has it
        (scores,) = getattr(trainer, measure)(model, sets[1].val_dataloader(), verbose=False)
        stage = {"validate": "val", "test": "test"}[measure]
        assert scores[f"{stage}/speed"] == 0
        assert scores[f"{stage}/hm"] > 0

    def test_head_without_targets_in_any_data_set(self, sets):
        loaders = [sets[1].train_dataloader(), sets[1].train_dataloader()]
        message = r"no batch of the epoch had targets for head `speed` \(`speed`\): add them, or remove the head"
        with pytest.raises(UserError, match=message):
            quiet_trainer(max_epochs=3).fit(speed_model(sets[1]), loaders)

    def test_field_with_the_wrong_shape_is_still_an_error(self, sets):
        model = speed_model(sets[0], DETECTION | {"speed": {"kind": "regression", "channels": 2}})
        with pytest.raises(UserError, match="has 2 channels, but the annotation field `speed` has 1"):
            quiet_trainer().fit(model, [each.train_dataloader() for each in sets])

    def test_transforms_stay_on_the_host_in_float64(self, sets):
        batches = {"a": next(iter(sets[0].train_dataloader())), "b": next(iter(sets[1].train_dataloader()))}
        moved = speed_model(sets[0]).transfer_batch_to_device(batches, torch.device("meta"), 0)
        for name, batch in moved.items():
            assert batch["image"].device.type == "meta"
            assert batch["transform"] is batches[name]["transform"]
            assert batch["ground_truth"] is batches[name]["ground_truth"]
            assert batch["file"] == batches[name]["file"]
