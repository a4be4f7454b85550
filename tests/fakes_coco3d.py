"""Fake 3D boxes in COCO files, as the originals' converters write them of nuScenes and of KITTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fakes import FakeObject, FakePicture, write_coco
from tests.fakes_kitti import CAR, FRAMES, P2, PEDESTRIAN, FakeBox

NAMES = [
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
]
ATTRIBUTES = ["", "cycle.with_rider", "cycle.without_rider", "pedestrian.moving", "pedestrian.standing"]
ATTRIBUTES += ["pedestrian.sitting_lying_down", "vehicle.moving", "vehicle.parked", "vehicle.stopped"]
TYPES = ["Pedestrian", "Car", "Cyclist", "Van", "Truck", "Person_sitting", "Tram", "Misc", "DontCare"]

NEAR, FAR = ([[focal, 0, 80.0, 0], [0, focal, 24, 0], [0, 0, 1, 0]] for focal in (90.0, 180.0))
TRUNCATED = FakeBox("car", (-7.0, 1.6, 8.0), (1.5, 1.7, 4.2), 0.3)
SEEN = {  # by picture: its camera, and its objects with attributes and velocities
    "wide": (NEAR, [(CAR, 7, (0, 0, 0)), (PEDESTRIAN, 3, (1.5, 0, -0.5)), (TRUNCATED, 6, (2.0, 0, 3.0))]),
    "tele": (FAR, [(CAR._replace(location=(-4.0, 1.6, 28.0)), 0, (np.nan,) * 3)]),
    "empty": (FAR, []),
}
CONE = FakeBox("traffic_cone", (1.0, 1.6, 14.0), (0.8, 0.4, 0.4), 0.0)
WIDTH, HEIGHT = 160, 48


def pictures(stems: list[str]) -> list[FakePicture]:
    return [FakePicture(stem, WIDTH, HEIGHT, (FakeObject("car", (1, 1, 9 + n, 9)),)) for n, stem in enumerate(stems)]


def project(points: np.ndarray, camera: list[list[float]]) -> np.ndarray:
    seen = np.c_[points, np.ones(len(points))] @ np.array(camera).T
    return seen[:, :2] / seen[:, 2:]


def write_3d(folder: Path, content: dict) -> tuple[Path, Path]:
    """Write a file and the pictures that it names."""
    stems = [image["file_name"].removesuffix(".png") for image in content["images"]]
    return write_coco(folder, pictures(stems), content)


def write_nuscenes(folder: Path) -> tuple[Path, Path]:
    return write_3d(folder, nuscenes_content())


def nuscenes_content(fusion: bool = True) -> dict:
    """Make what CenterFusion's converter writes, or CenterTrack's, which has no `velocity_cam`."""
    images, annotations = [], []
    for image_id, (stem, (camera, objects)) in enumerate(SEEN.items(), start=1):
        images.append(
            {"id": image_id, "file_name": f"{stem}.png", "calib": camera, "video_id": 1, "frame_id": image_id,
             "sensor_id": 1, "sample_token": "0" * 32, "trans_matrix": np.eye(4).tolist(), "width": WIDTH,
             "height": HEIGHT}
        )  # fmt: skip
        for box, attribute, velocity in objects:
            annotations.append(nuscenes_annotation(box, camera, image_id, attribute))
            in_camera = [*velocity, 0.0]
            motion = {"velocity": [9.0, 9.0, 9.0], "velocity_cam": in_camera} if fusion else {"velocity": in_camera}
            annotations[-1] |= {"id": len(annotations)} | motion
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"name": name, "id": number} for number, name in enumerate(NAMES, start=1)],
        "videos": [{"id": 1, "file_name": "scene-0001"}],
        "attributes": {name: number for number, name in enumerate(ATTRIBUTES)},
    }


def nuscenes_annotation(box: FakeBox, camera: list[list[float]], image_id: int, attribute: int) -> dict:
    """Write one; its alpha is that of the middle of the 2D box, as the converters have it."""
    hull = project(box.corners, camera)
    low, high = hull.min(0).clip(0), hull.max(0).clip(max=(WIDTH, HEIGHT))
    middle = np.array([box.location]) - [[0, box.dimensions[0] / 2, 0]]
    return {
        "image_id": image_id,
        "category_id": NAMES.index(box.type.lower()) + 1,
        "dim": list(box.dimensions),
        "location": list(box.location),
        "depth": box.location[2],
        "occluded": 0,
        "truncated": 0,
        "rotation_y": box.rotation_y,
        "amodel_center": project(middle, camera)[0].tolist(),
        "iscrowd": 0,
        "track_id": 1,
        "attributes": attribute,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float((high - low).prod()),
        "alpha": box.rotation_y - float(np.arctan2((low[0] + high[0]) / 2 - camera[0][2], camera[0][0])),
    }


def kitti_content() -> dict:
    """Make what CenterNet's converter writes of the fake frames of KITTI."""
    images = [{"file_name": f"{stem}.png", "id": int(stem), "calib": P2.tolist()} for stem in FRAMES]
    annotations = []
    for stem, lines in FRAMES.items():
        for words in (line.split() for line in lines):
            x1, y1, x2, y2 = map(float, words[4:8])
            annotations.append(
                {"image_id": int(stem), "id": len(annotations) + 1, "category_id": TYPES.index(words[0]) + 1,
                 "dim": [float(word) for word in words[8:11]], "bbox": [x1, y1, x2 - x1, y2 - y1],
                 "depth": float(words[13]), "alpha": float(words[3]), "truncated": int(float(words[1])),
                 "occluded": int(words[2]), "location": [float(word) for word in words[11:14]],
                 "rotation_y": float(words[14])}
            )  # fmt: skip
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"name": name, "id": number} for number, name in enumerate(TYPES, start=1)],
    }
