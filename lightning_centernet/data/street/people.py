"""Pedestrians and cyclists: jointed figures of rods and balls, posed by the phase of their gait or pedals."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.street.faces import Faces, Floats, capsules, join, make_faces, place
from lightning_centernet.data.street.world import Actor

JOINTS = (  # COCO's, in COCO's order
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
LIMBS = (
    ("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("right_ankle", "right_knee"), ("right_knee", "right_hip"),
    ("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("nose", "left_eye"), ("nose", "right_eye"),
    ("left_eye", "left_ear"), ("right_eye", "right_ear"), ("left_ear", "left_shoulder"),
    ("right_ear", "right_shoulder"),
)  # fmt: skip

PEDESTRIAN_SIZE = (1.72, 0.55, 0.95)  # height, width, length in metres: the stride is inside
CYCLIST_SIZE = (1.74, 0.60, 1.76)
_SHIRT, _TROUSERS, _SKIN, _HAIR, _SHOES, _METAL = range(6)  # the first four are the person's own colours
_SHOE_COLOUR, _TYRE_COLOUR = (0.08, 0.07, 0.07), (0.06, 0.06, 0.06)


class Rods(NamedTuple):
    """Round-ended rods: where they start and end (F, 3), their radii (F,), and their colours' places (F,)."""

    starts: Floats
    ends: Floats
    radii: Floats
    roles: NDArray[np.intp]


def keypoints(actor: Actor) -> Floats:
    """Return the joints (17, 3) of a pedestrian or cyclist, in metres in the camera's frame."""
    return place(_joints(actor), actor)


def pedestrian_length(actor: Actor) -> float:
    """Return the metres that a pedestrian takes up now, the same before as behind; `dimensions` hold a whole stride."""
    rods = _body(_joints(actor), actor.dimensions[0])
    reach = np.maximum(np.abs(rods.starts[:, 0]), np.abs(rods.ends[:, 0])) + rods.radii
    return 2 * float(reach.max())


def pedestrian_faces(actor: Actor) -> Faces:
    """Return a pedestrian's faces, far to near."""
    return _rod_faces(_body(_joints(actor), actor.dimensions[0]), actor)


def cyclist_faces(actor: Actor) -> Faces:
    """Return a cyclist's faces with the bicycle's, far to near; the last of `colours` is the frame's."""
    scale = actor.dimensions[0] / CYCLIST_SIZE[0]
    body, bicycle = _body(_joints(actor), actor.dimensions[0]), _bicycle()
    starts = np.concatenate([body.starts, bicycle.starts * scale])
    ends = np.concatenate([body.ends, bicycle.ends * scale])
    radii = np.concatenate([body.radii, bicycle.radii * scale])
    rods = Rods(starts, ends, radii, np.concatenate([body.roles, bicycle.roles]))
    return join([make_faces(place(_wheels() * scale, actor), _TYRE_COLOUR), _rod_faces(rods, actor)])


def _joints(actor: Actor) -> Floats:
    return _riding(actor) if actor.category == "cyclist" else _walking(actor)


def _walking(actor: Actor) -> Floats:
    height = actor.dimensions[0]
    swing = 0.36 * min(actor.speed / 1.4, 1.15)  # radians of the thigh, at 1.4 m/s a usual walk
    joints: dict[str, tuple[float, float, float]] = {}
    for side, sign, phase in (("left", 1.0, actor.phase), ("right", -1.0, actor.phase + math.pi)):
        thigh, knee = swing * math.sin(phase), swing * (0.15 + 1.3 * max(0.0, math.cos(phase)))
        arm = -0.9 * thigh
        joints[f"{side}_hip"] = hip = (0.0, -0.53, 0.052 * sign)
        joints[f"{side}_knee"] = bend = _reach(hip, thigh, 0.245)
        joints[f"{side}_ankle"] = _reach(bend, thigh - knee, 0.25)
        joints[f"{side}_shoulder"] = shoulder = (0.0, -0.815, 0.108 * sign)
        joints[f"{side}_elbow"] = elbow = _reach((shoulder[0], shoulder[1], 0.128 * sign), arm, 0.17)
        joints[f"{side}_wrist"] = _reach(elbow, arm + 0.2 + 0.7 * swing, 0.155)
    points = _with_face(joints, (0.012, -0.93))
    points[:, 1] -= points[:, 1].max() + 0.035  # the lower foot stands on the ground
    points[:, 1] *= (1 - 0.072) / -points[0, 1]
    return points * height


def _riding(actor: Actor) -> Floats:
    joints: dict[str, tuple[float, float, float]] = {}
    for side, sign, phase in (("left", 1.0, actor.phase), ("right", -1.0, actor.phase + math.pi)):
        hip, ankle = (-0.2, -0.94), (0.02 + 0.17 * math.cos(phase), -0.36 + 0.17 * math.sin(phase))
        joints[f"{side}_hip"] = (*hip, 0.09 * sign)
        joints[f"{side}_knee"] = (*_knee(hip, ankle, 0.43), 0.11 * sign)
        joints[f"{side}_ankle"] = (*ankle, 0.11 * sign)
        joints[f"{side}_shoulder"] = (0.10, -1.40, 0.19 * sign)
        joints[f"{side}_elbow"] = (0.24, -1.17, 0.25 * sign)
        joints[f"{side}_wrist"] = (0.42, -1.04, 0.24 * sign)
    points = _with_face({name: (x / 1.74, y / 1.74, z / 1.74) for name, (x, y, z) in joints.items()}, (0.12, -0.93))
    return points * actor.dimensions[0]


def _reach(start: tuple[float, float, float], angle: float, length: float) -> tuple[float, float, float]:
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle), start[2]


def _knee(hip: tuple[float, float], ankle: tuple[float, float], bone: float) -> tuple[float, float]:
    x, y = ankle[0] - hip[0], ankle[1] - hip[1]
    span = math.hypot(x, y)
    bulge = math.sqrt(max(bone**2 - span**2 / 4, 0.0)) / span
    return hip[0] + x / 2 + y * bulge, hip[1] + y / 2 - x * bulge


def _with_face(joints: dict[str, tuple[float, float, float]], head: tuple[float, float]) -> Floats:
    x, y = head
    joints["nose"] = (x + 0.062, y, 0.0)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        joints[f"{side}_eye"] = (x + 0.05, y - 0.018, 0.02 * sign)
        joints[f"{side}_ear"] = (x, y - 0.005, 0.046 * sign)
    return np.array([joints[name] for name in JOINTS])


_PIECES = (  # from which joint (below: 17 to 21) to which, radius, colour; lengths in shares of the height
    (11, 19, 0.062, _SHIRT), (12, 20, 0.062, _SHIRT), (17, 18, 0.075, _SHIRT),
    (11, 13, 0.047, _TROUSERS), (12, 14, 0.047, _TROUSERS), (13, 15, 0.034, _TROUSERS), (14, 16, 0.034, _TROUSERS),
    (15, 23, 0.022, _SHOES), (16, 24, 0.022, _SHOES), (18, 21, 0.030, _SKIN),
    (5, 7, 0.032, _SHIRT), (6, 8, 0.032, _SHIRT), (7, 9, 0.026, _SKIN), (8, 10, 0.026, _SKIN),
    (21, 21, 0.056, _SKIN), (22, 22, 0.058, _HAIR),
)  # fmt: skip
_STARTS, _ENDS, _ROLES = (np.array([piece[column] for piece in _PIECES], np.intp) for column in (0, 1, 3))
_RADII = np.array([piece[2] for piece in _PIECES])


def _body(joints: Floats, height: float) -> Rods:
    """Return the rods of a person whose joints (17, 3) are given in metres."""
    shoulders, ears = joints[5:7], joints[3:5].sum(0) / 2
    neck, waist = shoulders.sum(0) / 2, joints[11:13].sum(0) / 2
    inner = shoulders + 0.22 * (neck - shoulders)
    face, hair = ears + 0.25 * (joints[0] - ears), ears + np.array([-0.014, -0.014, 0.0]) * height
    toes = joints[15:17] + np.array([0.075, 0.012, 0.0]) * height
    points = np.concatenate([joints, [waist, neck], inner, [face, hair], toes])
    return Rods(points[_STARTS], points[_ENDS], _RADII * height, _ROLES)


@cache
def _bicycle() -> Rods:
    rear, front, pedals, saddle, handle = (-0.53, -0.35), (0.53, -0.35), (0.02, -0.32), (-0.18, -0.86), (0.42, -0.98)
    fork = (0.40, -0.78)
    tubes = [(rear, pedals), (rear, saddle), (pedals, saddle), (pedals, fork), (saddle, fork), (handle, front)]
    starts = np.array([*((*start, 0.0) for start, _ in tubes), (0.42, -1.0, -0.24)])
    ends = np.array([*((*end, 0.0) for _, end in tubes), (0.42, -1.0, 0.24)])
    return Rods(starts, ends, np.full(7, 0.024), np.full(7, _METAL, np.intp))


@cache
def _wheels() -> Floats:
    """Return the tyres (48, 4, 3) of both wheels, seen from either side."""
    angles = np.linspace(0, 2 * np.pi, 13)
    rim = 0.35 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    ring = np.stack([rim[:-1], rim[1:], 0.84 * rim[1:], 0.84 * rim[:-1]], axis=1)
    wheels = np.concatenate([ring + np.array([x, -0.35, 0.0]) for x in (-0.53, 0.53)])
    return np.concatenate([wheels, wheels[:, ::-1]])


def _rod_faces(rods: Rods, actor: Actor) -> Faces:
    palette = np.array([*actor.colours[:4], _SHOE_COLOUR, actor.colours[-1]])
    starts, ends = place(rods.starts, actor), place(rods.ends, actor)
    order = np.argsort(-((starts + ends) ** 2).sum(1), kind="stable")
    outlines = capsules(starts[order], ends[order], rods.radii[order])
    return make_faces(outlines, palette[rods.roles[order]])
