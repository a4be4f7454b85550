"""Heads: all facts of an output of the network in one value each."""

from lightning_centernet.heads.attribute import Attributes
from lightning_centernet.heads.box import Edges, Offset, Size
from lightning_centernet.heads.box3d import AmodalOffset, Depth, Dimensions
from lightning_centernet.heads.heatmap import Heatmap
from lightning_centernet.heads.motion import Displacement, Velocity
from lightning_centernet.heads.objects import Objects, place
from lightning_centernet.heads.pose import JointHeatmap, JointOffset, Joints
from lightning_centernet.heads.regression import Field, Regression
from lightning_centernet.heads.rotation import Rotation
from lightning_centernet.heads.spec import Head
from lightning_centernet.heads.standard import STANDARD, Heads, HeadSpec, head_specs, standard_heads

__all__ = [
    "STANDARD",
    "AmodalOffset",
    "Attributes",
    "Depth",
    "Dimensions",
    "Displacement",
    "Edges",
    "Field",
    "Head",
    "HeadSpec",
    "Heads",
    "Heatmap",
    "JointHeatmap",
    "JointOffset",
    "Joints",
    "Objects",
    "Offset",
    "Regression",
    "Rotation",
    "Size",
    "Velocity",
    "head_specs",
    "place",
    "standard_heads",
]
