"""How a street is lit: sun and sky on flat faces, haze, and what the camera's sensor adds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.street.faces import Faces, Floats, cross
from lightning_centernet.data.street.world import Weather

_NOISE = 0.04  # of the full range: a standard deviation of 3


def normals_of(faces: Faces) -> Floats:
    """Return the outward unit normals (F, 3)."""
    points = faces.points
    normals = cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    unit: Floats = normals / np.maximum(np.sqrt((normals * normals).sum(1, keepdims=True)), 1e-12)
    return unit


def shade(faces: Faces, normals: Floats, weather: Weather) -> Floats:
    """Return the colours (F, 3) in [0, 255] that the camera sees."""
    sun, sky = np.maximum(normals @ np.array(weather.sun), 0.0), 0.80 - 0.20 * normals[:, 1]
    light = sun[:, None] * weather.sunlight + sky[:, None] * weather.skylight
    light = np.maximum(light, (faces.glow * weather.lamps)[:, None])
    share = haze(np.sqrt((faces.points.mean(1) ** 2).sum(1)), weather)[:, None]
    colours: Floats = 255 * np.clip(faces.colours * light * (1 - share) + np.array(weather.horizon) * share, 0, 1)
    return colours


def haze(distance: Floats, weather: Weather) -> Floats:
    """Return the share of the horizon's colour that covers what is so many metres away."""
    veil: Floats = 1 - np.exp(-weather.haze * distance)
    return veil


def ground_light(weather: Weather) -> tuple[Floats, Floats]:
    """Return the light (3,) on the ground in the sun, and in the shade."""
    sky = np.array(weather.skylight)
    return sky - weather.sun[1] * np.array(weather.sunlight), sky


def finish(image: NDArray[np.uint8], texture: int) -> NDArray[np.uint8]:
    """Add the sensor's noise to a picture (H, W, 3)."""
    noise = np.frombuffer(np.random.default_rng(texture).bytes(image.size), np.uint8).reshape(image.shape)
    return cv2.addWeighted(image, 1.0, noise, _NOISE, -127.5 * _NOISE).astype(np.uint8, copy=False)
