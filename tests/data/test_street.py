"""The street: its worlds, its pictures, its annotations."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lightning_centernet.data.street import CLASSES, Actor, Street, World, annotate, build_world, render, street_data
from lightning_centernet.data.street.camera import NEAR, Camera, clip_near, project
from lightning_centernet.data.street.order import paint_order
from lightning_centernet.data.street.people import CYCLIST_SIZE, JOINTS, PEDESTRIAN_SIZE, keypoints
from lightning_centernet.data.street.scenery import faces_of
from lightning_centernet.data.street.vehicles import BUILDS
from lightning_centernet.errors import UserError

SIZE = (96, 160)
KINDS = [*BUILDS, "pedestrian", "cyclist"]
COLOURS = ((0.9, 0.1, 0.1), (0.1, 0.2, 0.8), (0.9, 0.7, 0.6), (0.3, 0.1, 0.1), (0.1, 0.7, 0.2))


def make_actor(kind: str, x: float, z: float, rotation_y: float = 0.4, **fields) -> Actor:
    sizes = {**{name: build.dimensions for name, build in BUILDS.items()}, "pedestrian": PEDESTRIAN_SIZE}
    category = kind if kind in CLASSES else "vehicle"
    colours = COLOURS[:2] if category == "vehicle" else COLOURS
    dimensions = sizes.get(kind, CYCLIST_SIZE)
    return Actor(kind, dimensions, (x, 1.6, z), rotation_y, colours, category, 1, **fields)


def make_world(*actors: Actor) -> World:
    """An open road in even light: nothing but the actors, and no shadows."""
    world = build_world(3)
    camera = Camera(focal=0.9, horizon=0.4, height=1.6)
    return replace(
        world,
        camera=camera,
        road=replace(world.road, ground=camera.height),
        weather=replace(world.weather, sunlight=(0.0, 0.0, 0.0), skylight=(0.8, 0.8, 0.8), haze=0.001),
        actors=actors,
        scenery=(),
    )


def test_a_sample_depends_on_seed_and_index_alone():
    street, same, other = Street(5, seed=7), Street(9, seed=7), Street(5, seed=8)
    last = street[4]
    for left, right in ((street[1], same[1]), (last, same[4])):
        np.testing.assert_array_equal(left.image, right.image)
        np.testing.assert_equal(left.annotations, right.annotations)
    worlds = [repr(street.world(index)) for street in (street, other) for index in range(5)]
    assert len(set(worlds)) == 10


def test_seeds_share_no_world():
    worlds = {repr(Street(8, seed=seed).world(index)) for seed in range(5) for index in range(8)}
    assert len(worlds) == 5 * 8


def test_splits_share_no_world():
    data = street_data(4, 3, 2, seed=5, input_size=(64, 96), batch_size=2, num_workers=0)
    streets = [source() for source in data.sources.values()]
    assert [len(street) for street in streets] == [4, 3, 2]
    assert {street.image_size for street in streets} == {(64, 96)}
    assert len({street.world(index) for street in streets for index in range(len(street))}) == 9


def test_zoom_enlarges_who_is_on_the_ground_but_not_the_ground():
    worlds = [build_world(5, zoom) for zoom in (1.0, 2.0)]
    views = [world.camera.projection(SIZE) for world in worlds]
    ground, high = ([np.array([1.0, world.camera.height - up, 10.0]) for world in worlds] for up in (0.0, 1.7))
    (_, below), (_, zoomed_below) = (project(point, view) for point, view in zip(ground, views, strict=True))
    (_, top), (_, zoomed_top) = (project(point, view) for point, view in zip(high, views, strict=True))
    assert zoomed_below == pytest.approx(below)
    assert zoomed_below - zoomed_top == pytest.approx(2 * (below - top))
    heights = []
    for zoom in (1.0, 2.0):
        objects = [sample.annotations for sample in Street(40, image_size=SIZE, zoom=zoom)]
        people = np.concatenate([each["boxes"][(each["labels"] > 0) & ~each["ignore"]] for each in objects])
        heights.append(np.median(people[:, 3] - people[:, 1]))
    assert 1.7 < heights[1] / heights[0] < 2.2


def test_streets_with_fewer_vehicles():
    worlds = {vehicles: [build_world(seed, vehicles=vehicles) for seed in range(60)] for vehicles in (0.0, 0.25, 1.0)}
    actors = {vehicles: [actor.category for w in seen for actor in w.actors] for vehicles, seen in worlds.items()}
    share = {vehicles: kinds.count("vehicle") / len(kinds) for vehicles, kinds in actors.items()}
    assert share[0.0] == 0 < share[0.25] < 0.35 < share[1.0]
    assert actors[0.0].count("pedestrian") > actors[1.0].count("pedestrian")


def test_annotations_are_well_formed():
    street = Street(60, image_size=SIZE)
    samples = [street[index] for index in range(60)]
    for sample in samples:
        boxes, labels, ignore, area = (sample.annotations[name] for name in ("boxes", "labels", "ignore", "area"))
        assert sample.image.shape == (*SIZE, 3)
        assert [sample.image.dtype, boxes.dtype, labels.dtype, ignore.dtype, area.dtype] == [
            np.uint8, np.float32, np.int64, np.bool_, np.float32,
        ]  # fmt: skip
        assert boxes.shape == (len(labels), 4)
        assert (boxes >= 0).all()
        assert (boxes <= (160, 96, 160, 96)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        np.testing.assert_allclose(area, (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), rtol=1e-5)
    labels = np.concatenate([sample.annotations["labels"] for sample in samples])
    assert set(labels) == {0, 1, 2}
    assert min(np.bincount(labels)) > 20
    assert np.concatenate([sample.annotations["ignore"] for sample in samples]).mean() < 0.15


def test_some_scenes_are_empty_and_most_have_two_to_eight_actors():
    numbers = np.array([len(build_world(seed).actors) for seed in range(200)])
    assert (numbers == 0).any()
    assert numbers.max() == 8
    assert ((numbers >= 2) & (numbers <= 8)).mean() > 0.8


def test_an_empty_world_is_painted():
    rendering = render(make_world(), SIZE)
    objects = annotate(make_world(), rendering)
    assert rendering.image.std() > 5
    shapes = {"boxes": (0, 4), "labels": (0,), "ignore": (0,), "area": (0,), "keypoints": (0, 17, 3)}
    assert {name: objects[name].shape for name in shapes} == shapes


@pytest.mark.parametrize("size", [(64, 64), (37, 201), (128, 50), (8, 8)])
def test_pictures_come_in_any_size(size):
    sample = Street(2, image_size=size)[1]
    assert sample.image.shape == (*size, 3)
    assert (sample.annotations["boxes"] <= (size[1], size[0], size[1], size[0])).all()


def test_projection_agrees_with_opencv():
    camera = Camera(focal=0.9, horizon=0.4, height=1.5)
    points = np.array([[1.0, 2.0, 10.0], [-3.0, 1.5, 7.0], [0.0, 0.0, 1.0]])
    matrix = camera.projection((100, 200))
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix[:, :3], np.zeros(4))[0][:, 0]
    np.testing.assert_allclose(project(points, matrix), expected)
    np.testing.assert_allclose(project(points[0], matrix), (100 + 18, 40 + 36))


def test_polygons_are_cut_at_the_near_plane():
    square = np.array([(-1.0, 0.0, -1.0), (1.0, 0.0, -1.0), (1.0, 0.0, 2.0), (-1.0, 0.0, 2.0)])
    away = np.array([0.0, 0.0, 9.0])
    clipped, kept = clip_near(np.stack([square, square - away, square + away]))
    assert kept.tolist() == [True, False, True]
    assert {tuple(point) for point in clipped[0].tolist()} == {(1, 0, NEAR), (1, 0, 2), (-1, 0, 2), (-1, 0, NEAR)}
    np.testing.assert_array_equal(clipped[2], square + away)


@pytest.mark.parametrize("rotation_y", [-2.3, -math.pi / 2, 0.0, 0.7, math.pi / 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_the_hull_of_what_is_painted(kind, rotation_y):
    world, size = (
        make_world(
            make_actor(
                kind, 0.6, 17.0 if kind in ("truck", "bus") else 12.0, rotation_y, phase=1.0, velocity=(1.2, 0.0, 0.0)
            )
        ),
        (192, 320),
    )
    rendering = render(world, size)
    changed = (rendering.image != render(replace(world, actors=()), size).image).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    painted = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose(rendering.boxes[0], painted, atol=1.25)
    assert rendering.visible[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_fills_its_dimensions(kind):
    actor = make_actor(kind, 0.0, 9.0, rotation_y=0.0, velocity=(1.5, 0.0, 0.0), phase=1.6)
    points = faces_of(actor).points - actor.location
    height, width, length = actor.dimensions
    low, high = points.min((0, 1)), points.max((0, 1))
    assert -1.03 * height < low[1] < -0.97 * height
    assert abs(high[1]) < 0.02
    assert max(-low[0], high[0]) < length / 2 + 0.01
    assert max(-low[2], high[2]) < width / 2 + 0.01
    assert high[0] - low[0] > (0.5 if kind == "pedestrian" else 0.95) * length


def test_a_near_actor_hides_a_far_one():
    near, far = make_actor("bus", 0.0, 12.0, 0.0), make_actor("pedestrian", 0.2, 20.0)
    for actors in ((near, far), (far, near)):
        world = make_world(*actors)
        rendering, objects = render(world, SIZE), annotate(world, render(world, SIZE))
        hidden = actors.index(far)
        np.testing.assert_array_equal(rendering.image, render(make_world(near), SIZE).image)
        assert rendering.visible[hidden] == 0
        assert rendering.visible[1 - hidden] == 1
        assert objects["ignore"].tolist() == [actor is far for actor in actors]


def test_somebody_beside_a_long_vehicle_is_not_painted_over():
    bus, beside = make_actor("bus", 3.0, 13.0, math.pi / 2), make_actor("pedestrian", 1.2, 16.0)
    assert math.hypot(1.2, 16.0) > math.hypot(3.0, 13.0)  # by distance alone, the bus would cover the pedestrian
    assert paint_order([bus, beside]) == [0, 1]
    assert paint_order([beside, bus]) == [1, 0]
    assert paint_order([bus, make_actor("pedestrian", 4.9, 12.0)]) == [1, 0]


def test_visibility_counts_what_the_picture_shows():
    """A pedestrian behind a van: the share of the pixels that still differ from the scene without the pedestrian."""
    van, person = make_actor("van", -1.2, 9.0, math.pi / 2), make_actor("pedestrian", -0.25, 14.0)
    size = (192, 320)

    def shown(*others):
        pictures = [render(make_world(*actors), size).image for actors in ((person, *others), others)]
        return (pictures[0] != pictures[1]).any(2).sum()

    share = render(make_world(person, van), size).visible[0]
    assert 0.1 < share < 0.9
    assert share == pytest.approx(shown(van) / shown(), abs=0.08)


def test_what_is_tiny_or_mostly_outside_is_ignored_and_what_is_outside_left_out():
    tiny, cut = make_actor("pedestrian", 3.0, 90.0), make_actor("saloon", 6.9, 9.0, 0.0)
    clear, outside, behind = (make_actor("pedestrian", x, z) for x, z in ((0.0, 10.0), (30.0, 10.0), (0.0, -5.0)))
    world = make_world(tiny, cut, clear, outside, behind)
    objects = annotate(world, render(world, SIZE))
    assert objects["labels"].tolist() == [1, 0, 1]
    assert objects["ignore"].tolist() == [True, True, False]
    assert objects["boxes"][1, 2] == SIZE[1]


def test_the_world_moves_by_its_velocities():
    world = next(world for world in map(build_world, range(50)) if len(world.actors) > 4)
    later = world.at(1.5)
    for before, after in zip(world.actors, later.actors, strict=True):
        np.testing.assert_allclose(after.location, np.add(before.location, np.multiply(1.5, before.velocity)))
        assert (after.track_id, after.rotation_y, after.dimensions) == (
            before.track_id, before.rotation_y, before.dimensions,
        )  # fmt: skip
        heading = (math.cos(before.rotation_y), 0.0, -math.sin(before.rotation_y))
        np.testing.assert_allclose(before.velocity, np.multiply(before.speed, heading), atol=1e-9)
    assert world.at(0.0) == world
    assert later.scenery == world.scenery
    for once, twice in zip(later.actors, world.at(1.0).at(0.5).actors, strict=True):
        np.testing.assert_allclose(once.location, twice.location)
        assert once.phase == pytest.approx(twice.phase)


def test_who_drives_past_the_camera_is_painted_to_the_end():
    world = make_world(make_actor("bus", 2.4, 9.0, math.pi / 2, velocity=(0.0, 0.0, -10.0)))
    for time, far_end in ((0.4, 9.0 - 4.0 + 5.25), (1.1, 9.0 - 11.0 + 5.25)):
        late = world.at(time)
        (left, _, right, bottom), *_ = annotate(late, render(late, SIZE))["boxes"]
        assert left == pytest.approx(80 + (2.4 - 1.25) * 0.9 * 160 / far_end, abs=0.5)
        assert (right, bottom) == (160, 96)
    assert len(annotate(world.at(2.0), render(world.at(2.0), SIZE))["boxes"]) == 0


def test_keypoints_lie_in_the_box_and_left_is_left():
    person = make_actor("pedestrian", 0.5, 8.0, math.pi / 2, velocity=(0.0, 0.0, -1.4), phase=0.8)  # comes towards us
    world = make_world(person)
    left, top, right, bottom = render(world, SIZE).boxes[0]
    joints = keypoints(person)
    x, y = project(joints, world.camera.projection(SIZE)).T
    assert joints.shape == (len(JOINTS), 3)
    assert (x > left).all()
    assert (x < right).all()
    assert (y > top).all()
    assert (y < bottom).all()
    by_name = dict(zip(JOINTS, x, strict=True))
    assert by_name["left_shoulder"] > by_name["right_shoulder"]  # somebody who faces us has the left on our right
    assert joints[0, 2] < joints[3, 2]  # the nose before the ears
    cycle = keypoints(person.at(person.stride / 1.4)) - joints
    np.testing.assert_allclose(cycle, [[0, 0, -person.stride]] * len(JOINTS), atol=1e-9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 0},
        {"size": 3, "seed": -1},
        {"size": 3, "image_size": (0, 9)},
        {"size": 3, "image_size": (9,)},
        {"size": 3, "zoom": 0.0},
        {"size": 3, "zoom": math.nan},
        {"size": 3, "vehicles": -1.0},
    ],
)
def test_impossible_streets_are_refused(arguments):
    with pytest.raises(UserError, match=r"street with (size|zoom)="):
        Street(**arguments)


def test_an_index_outside_ends_the_sequence():
    assert len(list(Street(3, image_size=(16, 24)))) == 3
    with pytest.raises(IndexError):
        Street(3)[3]


def joints_in(world: World, size: tuple[int, int] = SIZE) -> np.ndarray:
    return annotate(world, render(world, size))["keypoints"]


@pytest.mark.parametrize("kind", ["pedestrian", "cyclist"])
def test_joints_are_where_people_are_painted(kind):
    actor = make_actor(kind, 0.5, 6.0)
    world = make_world(actor)
    objects = annotate(world, render(world, (192, 320)))
    (joints,), (box,) = objects["keypoints"], objects["boxes"]
    assert joints.shape == (17, 3)
    assert (joints[:, :2] >= box[:2]).all()
    assert (joints[:, :2] <= box[2:]).all()
    assert (joints[:, 2] == 2).sum() >= 15  # thin wrists may be painted beside their joint
    expected = project(keypoints(actor), world.camera.projection((192, 320)))
    np.testing.assert_allclose(joints[:, :2], expected, rtol=1e-5)
    names = list(JOINTS)
    assert joints[names.index("nose"), 1] < joints[names.index("left_hip"), 1] < joints[names.index("left_ankle"), 1]


def test_vehicles_have_no_joints():
    (joints,) = joints_in(make_world(make_actor("saloon", 0.0, 9.0)))
    assert np.isnan(joints[:, :2]).all()
    assert (joints[:, 2] == 0).all()


def test_hidden_joints():
    """A pedestrian behind a bus."""
    world = make_world(make_actor("pedestrian", 0.0, 14.0), make_actor("bus", 0.0, 9.0, 0.0))
    joints = joints_in(world)[0]
    assert (joints[:, 2] == 1).all()
    assert np.isfinite(joints).all()


def test_joints_outside_the_picture():
    """A pedestrian cut in two by the picture's edge, and one that is nearly behind the camera."""
    for actor in (make_actor("pedestrian", 1.28 * 160 / 288 * 3, 3.0, 1.57), make_actor("pedestrian", 0.1, 0.6)):
        for joints in joints_in(make_world(actor)):
            outside = joints[:, 2] == 0
            assert outside.any()
            assert np.isnan(joints[outside, :2]).all()
            assert (joints[~outside, :2] < (160, 96)).all()


def test_skeleton():
    street = Street(1)
    assert street[0].skeleton is street.skeleton
    assert street.skeleton.names == JOINTS
    assert len(street.skeleton.known_sigmas) == 17
