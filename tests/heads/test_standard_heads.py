"""Building heads by name: what they become, what is refused, and that their description builds them again."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest
from torch import nn

from lightning_centernet import UserError, standard_heads
from lightning_centernet.heads import STANDARD, Field, Heatmap, Offset, Regression, Rotation, Size, head_specs

OPEN = {"hm": 3, "hps": 10, "hm_hp": 5}
SPECS = {name: standard.channels or OPEN.get(name, 3) for name, standard in STANDARD.items()}
OWN = {"speed": {"kind": "regression", "channels": 2}}


class TestBuilding:
    def test_number_mapping_none_and_head_are_the_same(self):
        by_hand = Offset(name="reg", channels=2)
        for spec in (2, None, {}, {"channels": None}, {"channels": 2}, by_hand):
            assert standard_heads({"reg": spec}) == {"reg": by_hand}

    def test_heads_come_back_unchanged(self):
        heads = standard_heads(SPECS | OWN)
        assert standard_heads(heads) == heads

    def test_shared_options_reach_the_heads_they_concern(self):
        heads = standard_heads(SPECS, rotation_average="slots", focal="dense", clamp=True)
        assert [heads[name].average for name in ("rot", "rot_sec")] == ["slots", "slots"]
        assert [(heads[name].focal, heads[name].clamp) for name in ("hm", "hm_hp")] == [("dense", True)] * 2
        defaults = standard_heads(SPECS)
        assert {name for name in SPECS if heads[name] != defaults[name]} == {"hm", "hm_hp", "rot", "rot_sec"}

    def test_own_option_wins_over_the_shared_one(self):
        heads = standard_heads({"hm": {"channels": 3, "focal": "sparse"}, "rot": {"average": "labelled"}},
                               focal="dense", rotation_average="slots")  # fmt: skip
        assert heads["hm"].focal == "sparse"
        assert heads["rot"].average == "labelled"

    def test_classes_give_the_channels(self):
        heads = standard_heads({"hm": None, "wh": {"class_specific": True}, "reg": None}, classes=7)
        assert [head.channels for head in heads.values()] == [7, 14, 2]

    def test_weights(self):
        heads = standard_heads({"hm": 3, "wh": {"weight": 0.2}, "reg": Offset(name="reg", channels=2)},
                               weights={"hm": 2, "wh": 0.05, "reg": 0.5})  # fmt: skip
        assert [head.weight for head in heads.values()] == [2, 0.05, 0.5]

    def test_what_is_handed_in_stays_as_it_is(self):
        options = {"channels": 3, "focal": "dense"}
        specs = {"speed": {"kind": "regression", "channels": 1}, "hm": options}
        standard_heads(specs, weights={"speed": 2})
        assert list(specs) == ["speed", "hm"]
        assert options == {"channels": 3, "focal": "dense"}
        assert specs["speed"] == {"kind": "regression", "channels": 1}

    def test_amodal(self):
        heads = standard_heads({"ltrb": 4, "ltrb_amodal": 4})
        assert [head.amodal for head in heads.values()] == [False, True]


REFUSED = [
    ({"hmm": 3}, {}, r"unknown head `hmm`: the heads are hm, wh, reg.*\. Did you mean `hm`\?"),
    ({"amodal_offset": 2}, {}, r"unknown head `amodal_offset`: .*\. Did you mean `amodel_offset`\?"),
    ({"quite_else": 2}, {}, r"unknown head `quite_else`: .*kind=regression"),
    ({3: 2}, {}, "unknown head `3`"),
    ({"speed": {"kind": "classification", "channels": 2}}, {}, "unknown head `speed`"),
    ({"speed": {"kind": "regression"}}, {}, r"head `speed` needs its number of channels: set heads.speed.channels"),
    ({"hm": None}, {}, "head `hm` needs its number of channels"),
    ({"hps": {}}, {}, "head `hps` needs its number of channels"),
    (
        {"hm": {"channels": 3, "focall": "dense"}},
        {},
        r"no option `focall`: it takes alpha, b.*\. Did you mean `focal`\?",
    ),
    ({"hm": {"channels": 3, "module": None}}, {}, "head `hm` has no option `module`"),
    ({"wh": {"name": "reg"}}, {}, "head `wh` has no option `name`"),
    ({"wh": {"kind": "regression"}}, {}, "head `wh` has no option `kind`"),
    ({"wh": {1: 2}}, {}, "head `wh` has no option `1`"),
    ({"reg": 3}, {}, "head `reg` has 2 channels, not 3: leave the number out"),
    ({"wh": 4}, {}, "head `wh` has 2 channels, not 4: set heads.wh.class_specific=true"),
    ({"wh": {"dense": True, "class_specific": True}}, {"classes": 1}, "dense=true and class_specific=true exclude"),
    ({"hm": 0}, {}, "channels=0 is not a positive whole number"),
    ({"hm": -1}, {}, "channels=-1 is not a positive whole number"),
    ({"hm": 2.5}, {}, "channels=2.5 is not a positive whole number"),
    ({"hm": "80"}, {}, "channels='80' is not a positive whole number"),
    ({"hm": True}, {}, "channels=True is not a positive whole number"),
    ({"hm": [3]}, {}, r"channels=\[3\] is not a positive whole number"),
    ({"hm": {"channels": 3, "focal": "thin"}}, {}, "focal='thin' is not one of 'sparse', 'dense'"),
    ({"hm": {"channels": 3, "focal": "quality", "beta": 3.0}}, {}, "beta=3.0 does nothing with focal=quality"),
    ({"hm": {"channels": 3, "focal": "quality", "clamp": True}}, {}, "clamp=true does nothing with focal=quality"),
    ({"hm_hp": 3}, {"focal": "quality", "clamp": True}, "`hm_hp`: clamp=true does nothing with focal=quality"),
    ({"hm": {"channels": 3, "mse": True, "alpha": 3.0}}, {}, "alpha=3.0 does nothing with mse=true"),
    ({"hm": {"channels": 3, "mse": True, "beta": 0.0}}, {}, "beta=0.0 does nothing with mse=true"),
    ({"hm": {"channels": 3, "mse": True, "clamp": True}}, {}, "clamp=true does nothing with mse=true"),
    ({"hm": {"channels": 3, "clamp": "no"}}, {}, "clamp='no' is not of the type bool"),
    ({"hm": {"channels": 3, "bias": "low"}}, {}, "bias='low' is not of the type float"),
    ({"reg": {"loss": "l3"}}, {}, "head `reg`: unknown loss `l3`: it can be l1, smooth_l1"),
    ({"reg": {"average": ["slots"]}}, {}, "average=.* is not one of 'elements', 'objects', 'slots'"),
    ({"reg": {"mask": 3}}, {}, "mask=3 is not of the type str | None"),
    ({"reg": {"weight": "0.1"}}, {}, "weight='0.1' is not of the type float"),
    ({"rot": {"average": "elements"}}, {}, "average='elements' is not one of 'labelled', 'slots'"),
    ({"dep": {"activation": "exp"}}, {}, "activation='exp' is not one of 'inverse_sigmoid', 'linear'"),
    ({"hm": 3}, {"classes": 4}, "head `hm` has 3 channels, but 4 classes need 4: leave the number out"),
    ({"hm": Heatmap(name="hm", channels=3)}, {"classes": 4}, "head `hm` has 3 channels, but 4 classes need 4"),
    ({"hm": 3, "wh": {"channels": 4, "class_specific": True}}, {}, "`wh` has 4 channels, but 3 classes need 6"),
    ({"hm": 3, "dep": 2}, {}, "head `dep` has 2 channels, but 3 classes need 3"),
    ({"hm": 3}, {"weights": {"wh": 1.0}}, "a weight is given for head `wh`, which is not among hm: remove it"),
    ({"reg": 2}, {"weights": {"reg": "high"}}, "weight='high' is not of the type float"),
    ({"hm": 3}, {"focal": "thin"}, "focal='thin' is not one of"),
    ({"box": Size(name="wh", channels=2)}, {}, "head under the name `box` calls itself `wh`: give it one name"),
    (["hm", "wh"], {}, r"heads=\['hm', 'wh'\]: must map names to channels"),
]


@pytest.mark.parametrize(("specs", "options", "message"), REFUSED)
def test_refused(specs, options, message):
    with pytest.raises(UserError, match=message):
        standard_heads(specs, **options)


@pytest.mark.parametrize("specs", [{"dep": 2}, {"wh": {"channels": 8, "class_specific": True}}, {"hm": 3, "hm_hp": 17}])
def test_channels_that_fit(specs):
    assert set(standard_heads(specs)) == set(specs)


def other_values(head, option, kind):
    """Values that an option may have, besides its default."""
    if option == "loss" and isinstance(head, Regression):
        return {"smooth_l1"}  # the others: test_losses.py
    if get_origin(kind) is Literal:
        return set(get_args(kind)) - {getattr(head, option)}
    if get_origin(kind) is Union or get_args(kind):
        return {value for part in get_args(kind) for value in other_values(head, option, part)}
    return {bool: {True}, float: {0.25}, str: {"something"}, int: set()}.get(kind, set())


def variations():
    for name, head in standard_heads(SPECS | OWN).items():
        hints = get_type_hints(type(head))
        for field in fields(head):
            if field.name not in ("name", "channels", "module"):
                for value in sorted(other_values(head, field.name, hints[field.name]), key=str):
                    yield pytest.param(name, field.name, value, id=f"{name}.{field.name}={value}")


@pytest.mark.parametrize(("name", "option", "value"), list(variations()))
def test_description_builds_the_head_again(name, option, value):
    options = {"kind": "regression"} if name in OWN else {}
    channels = None if value == "sin_cos" else (SPECS | {"speed": 2})[name]
    heads = standard_heads({name: {"channels": channels, option: value} | options})
    assert getattr(heads[name], option) == value
    specs = head_specs(heads)
    assert standard_heads(specs, rotation_average="slots", focal="dense", clamp=True) == heads
    assert plain(specs)


def plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and plain(entry) for key, entry in value.items())
    return value is None or type(value) in (str, int, float, bool)


def test_every_head_has_variations():
    assert {param.values[0] for param in variations()} == set(SPECS | OWN)


@dataclass(frozen=True, kw_only=True)
class Mine(Field):
    pass


@pytest.mark.parametrize(
    "head",
    [
        Mine(name="mine", channels=1),
        Mine(name="reg", channels=2),
        Field(name="speed", channels=1, module=nn.Linear(1, 1)),
        replace(Offset(name="reg", channels=2), module=nn.Identity()),
        Rotation(name="turn", channels=8),
    ],
    ids=lambda head: f"{type(head).__name__} {head.name}",
)
def test_what_is_made_by_hand_has_no_description(head):
    assert head_specs(standard_heads({"hm": 3, head.name: head})) is None


def test_what_the_package_makes_by_hand_has_one():
    head = Field(name="speed", channels=1, weight=0.5)
    assert standard_heads(head_specs({"speed": head})) == {"speed": head}


def test_options_have_defaults():
    """So that a spec need not name them."""
    for standard in STANDARD.values():
        without = {field.name for field in fields(standard.head) if field.default is MISSING}
        assert without == {"name", "channels"}
