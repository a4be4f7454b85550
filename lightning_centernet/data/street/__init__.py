"""The synthetic data set: a small procedural street world, drawn on the fly from a seed."""

from lightning_centernet.data.street.dataset import Street, annotate, street_data
from lightning_centernet.data.street.layout import build_world
from lightning_centernet.data.street.painting import Rendering, render
from lightning_centernet.data.street.world import CLASSES, Actor, Thing, World

__all__ = [
    "CLASSES",
    "Actor",
    "Rendering",
    "Street",
    "Thing",
    "World",
    "annotate",
    "build_world",
    "render",
    "street_data",
]
