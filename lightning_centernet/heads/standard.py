"""The heads of the family by name, and how to build a dict of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from lightning_centernet.errors import UserError, did_you_mean
from lightning_centernet.heads.attribute import Attributes
from lightning_centernet.heads.box import Edges, Offset, Size
from lightning_centernet.heads.box3d import AmodalOffset, Depth, Dimensions
from lightning_centernet.heads.heatmap import Focal, Heatmap
from lightning_centernet.heads.motion import Displacement, Velocity
from lightning_centernet.heads.pose import JointHeatmap, JointOffset, Joints
from lightning_centernet.heads.regression import Field
from lightning_centernet.heads.rotation import Rotation
from lightning_centernet.heads.spec import Head
from lightning_centernet.losses import RotationAverage

Heads: TypeAlias = dict[str, Head]
HeadSpec: TypeAlias = int | Mapping[str, Any] | Head | None


@dataclass(frozen=True)
class Standard:
    """One of the family's heads.

    Attributes:
        head: its class.
        channels: None where they depend on the data.
        fixed: no other number of channels is allowed.
        by_loss: channels where a loss needs others.
    """

    head: type[Head]
    channels: int | None = None
    fixed: bool = True
    by_loss: Mapping[str, int] = field(default_factory=dict)


# In the order in which losses are reported.
STANDARD: Mapping[str, Standard] = MappingProxyType(
    {
        "hm": Standard(Heatmap),
        "wh": Standard(Size, 2, fixed=False),
        "reg": Standard(Offset, 2),
        "ltrb": Standard(Edges, 4),
        "hps": Standard(Joints),
        "hm_hp": Standard(JointHeatmap),
        "hp_offset": Standard(JointOffset, 2),
        "dep": Standard(Depth, 1, fixed=False, by_loss={"laplace": 2}),
        "dep_sec": Standard(Depth, 1, fixed=False, by_loss={"laplace": 2}),
        "dim": Standard(Dimensions, 3),
        "rot": Standard(Rotation, 8, by_loss={"sin_cos": 2}),
        "rot_sec": Standard(Rotation, 8, by_loss={"sin_cos": 2}),
        "amodel_offset": Standard(AmodalOffset, 2),
        "ltrb_amodal": Standard(Edges, 4),
        "tracking": Standard(Displacement, 2),
        "nuscenes_att": Standard(Attributes, 8),
        "velocity": Standard(Velocity, 3),
    }
)


def standard_heads(
    channels: Mapping[str, HeadSpec],
    *,
    weights: Mapping[str, float] | None = None,
    rotation_average: RotationAverage = "labelled",
    focal: Focal = "sparse",
    clamp: bool = False,
    classes: int | None = None,
    joints: int | None = None,
) -> Heads:
    """Build the heads of a task.

    Args:
        channels: head name to its output channels, or to a mapping of its options (fields of its class; `channels` may
            be left out or None where they are known), or to a `Head` made by hand. A name of your own with
            `kind: regression` makes an L1 head for the annotation field of that name.
        weights: factors of the losses in the total; 0.1 for `wh`, `ltrb` and `ltrb_amodal` and 1 for the others unless
            given.
        rotation_average: of `rot` and `rot_sec`, see `Rotation`.
        focal: of `hm` and `hm_hp`, see `Heatmap`.
        clamp: of `hm` and `hm_hp`, see `Heatmap`.
        classes: number of classes, the channels of `hm` where these are None.
        joints: number of joints, from which the channels of `hps` and `hm_hp` follow where these are None.

    Returns:
        The heads, those of the family first, in the order in which their losses are reported.

    Raises:
        UserError: a head or an option is unknown, or does not fit.

    Example:
        >>> heads = standard_heads({"hm": 80, "wh": 2, "reg": 2}, weights={"wh": 0.05})
        >>> heads["wh"].weight
        0.05
    """
    _check_names(channels, weights or {})
    usual = {"hm": classes, "hps": joints and 2 * joints, "hm_hp": joints}
    shared = {"rotation_average": rotation_average, "focal": focal, "clamp": clamp}
    names = [name for name in STANDARD if name in channels] + [name for name in channels if name not in STANDARD]
    heads = {}
    for name in names:
        spec = channels[name]
        options = dict(spec) if isinstance(spec, Mapping) else {"channels": spec}
        heads[name] = spec if isinstance(spec, Head) else _build(name, options, shared, usual)
        if weights and name in weights:
            heads[name] = replace(heads[name], weight=weights[name])
    _check(heads, classes)
    return heads


def head_specs(heads: Mapping[str, Head]) -> dict[str, dict[str, Any]] | None:
    """Describe heads in plain values from which `standard_heads` builds them again; None if one is made by hand."""
    specs = {}
    for name, head in heads.items():
        known = type(head) is (STANDARD[name].head if name in STANDARD else Field)
        if not known or head.module is not None or head.name != name:
            return None
        specs[name] = {f.name: getattr(head, f.name) for f in fields(head) if f.name not in ("name", "module")}
        if name not in STANDARD:
            specs[name]["kind"] = "regression"
    return specs


def _check_names(channels: Mapping[str, HeadSpec], weights: Mapping[str, float]) -> None:
    if not isinstance(channels, Mapping):
        raise UserError(f"heads={channels!r}: must map names to channels, such as {{'hm': 80, 'wh': 2, 'reg': 2}}")
    for name in weights:
        if name not in channels:
            raise UserError(f"a weight is given for head `{name}`, which is not among {', '.join(channels)}: remove it")


def _build(name: str, options: dict[str, Any], shared: Mapping[str, Any], data: Mapping[str, int | None]) -> Head:
    standard = STANDARD.get(name)
    if standard is None:
        if options.pop("kind", None) != "regression":
            raise UserError(_unknown_head(name))
        standard = Standard(Field)
    allowed = {f.name for f in fields(standard.head)} - {"name", "module"}
    for option in options:
        if option not in allowed:
            raise UserError(
                f"head `{name}` has no option `{option}`: it takes {', '.join(sorted(allowed))}"
                f"{did_you_mean(option, allowed)}"
            )
    options = _usual(name, standard.head, options, shared) | options
    options["channels"] = _channels(name, standard, options, data)
    head = standard.head(name=name, **options)
    if head.weight < 0:
        raise UserError(f"head `{name}`: weight={head.weight} must be a number of at least 0")
    return head


def _usual(name: str, kind: type[Head], options: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that a head has unless they are given."""
    if kind is Rotation:
        return {"average": shared["rotation_average"]}
    if issubclass(kind, Heatmap):
        without_clamp = {"focal": shared["focal"]}
        return without_clamp if options.get("mse") else without_clamp | {"clamp": shared["clamp"]}
    return {"amodal": name == "ltrb_amodal"} if kind is Edges else {}


def _channels(name: str, standard: Standard, options: Mapping[str, Any], data: Mapping[str, int | None]) -> Any:
    given = options.get("channels")
    loss = options.get("loss")
    named = str(loss.get("name") if isinstance(loss, Mapping) else loss)
    usual = data[name] if name in data else standard.by_loss.get(named, standard.channels)
    if name == "wh" and options.get("class_specific"):
        usual = data["hm"] and 2 * data["hm"]
    if given is None and usual is None:
        raise UserError(f"head `{name}` needs its number of channels: set heads.{name}.channels")
    if None not in (given, standard.channels) and standard.fixed and given != usual:
        why = f", as loss={named} needs" if named in standard.by_loss else ""
        fix = f"leave the number out, or set heads.{name}.channels={usual}"
        raise UserError(f"head `{name}` has {usual} channels, not {given}: {fix}{why}")
    return usual if given is None else given


def _check(heads: Heads, classes: int | None) -> None:
    if classes is None and "hm" in heads:
        classes = heads["hm"].channels
    for name, head in heads.items():
        if head.name != name:
            raise UserError(f"the head under the name `{name}` calls itself `{head.name}`: give it one name")
        wanted = head.channels_per_class * (classes or 0)
        if wanted and head.channels != wanted:
            raise UserError(
                f"head `{name}` has {head.channels} channels, but {classes} classes need {wanted}: leave the number out"
            )


def _unknown_head(name: str) -> str:
    return (
        f"unknown head `{name}`: the heads are {', '.join(STANDARD)}; for one of your own give it the option "
        f"kind=regression, or pass a Head{did_you_mean(name, STANDARD)}"
    )
