"""3D boxes equal those of the originals' post-processing."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet import decode, standard_heads
from lightning_centernet.decoding import to_image
from lightning_centernet.geometry.affine import invert, similarity
from lightning_centernet.lifting import lift
from tests.golden_files import cases, load
from tests.test_decoding_golden import logits_of

POST = {"rtol": 1e-4, "atol": 3e-3}
FIELDS = {"alpha": "alpha", "dep": "depth", "dim": "dimensions", "loc": "location", "rot_y": "rotation_y"}


def maps_to_grid(arrays):
    height, width = arrays["in_hm"].shape[2:]
    centers, scales = arrays["post_c"].tolist(), arrays["post_s"].tolist()
    return torch.stack([similarity(tuple(c), s, 0.0, (width, height)) for c, s in zip(centers, scales, strict=True)])


def lifted(arrays, k, centernet=False, **options):
    """Decode and lift with the heads of a file; pixels of the original and cells are one transform apart."""
    maps = logits_of(arrays)
    heads = standard_heads({name: {"channels": m.shape[1]} | options.get(name, {}) for name, m in maps.items()})
    detections = decode({name: m.float() for name, m in maps.items()}, heads, k=k)
    mapped = to_image(detections, maps_to_grid(arrays), stride=1, sizes_as_points=centernet)
    return lift(mapped, arrays["post_calib"], shared_camera=centernet)


@pytest.mark.parametrize("path", cases("decode_centertrack_ddd*"))
def test_centertrack(path):
    _, arrays = load(path)
    parity = {"amodel_offset": {"origin": "box"}} if "in_amodel_offset" in arrays else {}
    found = lifted(arrays, arrays["det_scores"].shape[1], **parity)
    for image in range(len(arrays["post_calib"])):
        rows = int(arrays[f"post{image}_n"])
        torch.testing.assert_close(found["boxes"][image, :rows], arrays[f"post{image}_bbox"], **POST)
        for key, name in FIELDS.items():
            tolerance = {"rtol": 0, "atol": 1e-5} if key in ("alpha", "rot_y") else POST
            values = found[name][image, :rows]
            torch.testing.assert_close(values, arrays[f"post{image}_{key}"], **tolerance)
        if "amodal_centers" in found:
            centers = found["amodal_centers"][image, :rows]
            torch.testing.assert_close(centers, arrays[f"post{image}_ct"], **POST)


@pytest.mark.parametrize("path", cases("decode_centernet_ddd*"))
def test_centernet_on_the_grid(path):
    _, arrays = load(path)
    maps, dets = logits_of(arrays), arrays["dets"]
    heads = standard_heads({name: {"channels": m.shape[1]} for name, m in maps.items()})
    found = decode({name: m.float() for name, m in maps.items()}, heads, k=dets.shape[1])
    kept = dets[..., 2] > 0
    columns = {"centers": slice(0, 2), "scores": 2, "depth": 11, "dimensions": slice(12, 15), "labels": -1}
    for name, column in columns.items():
        tolerance = 1e-4 if name == "depth" else 1e-5
        expected = dets[..., column][kept]
        torch.testing.assert_close(found[name][kept].float(), expected, rtol=tolerance, atol=tolerance)
    if "wh" in maps:
        size = found["boxes"][..., 2:] - found["boxes"][..., :2]
        torch.testing.assert_close(size[kept], dets[..., 15:17][kept].clamp(min=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", [case for case in cases("decode_centernet_ddd*") if "no_wh" not in case.id])
def test_centernet(path):
    _, arrays = load(path)
    found = lifted(arrays, arrays["dets"].shape[1], centernet=True)
    translation = invert(maps_to_grid(arrays))[..., 2].float()
    for image in range(len(translation)):
        for label in range(arrays["in_hm"].shape[1]):
            expected = arrays[f"post{image}_cls{label + 1}"]
            of_class = (found["labels"][image] == label).nonzero().flatten()[: len(expected)]
            values = {name: field[image, of_class] for name, field in found.items()}
            torch.testing.assert_close(values["scores"], expected[:, 12], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(values["dimensions"], expected[:, 5:8], **POST)
            torch.testing.assert_close(values["location"], expected[:, 8:11], **POST)
            for name, column in (("alpha", 0), ("rotation_y", 11)):
                torch.testing.assert_close(values[name], expected[:, column], rtol=0, atol=1e-5)
            positive = (expected[:, 3:5] - expected[:, 1:3] > translation[image]).all(1)  # it keeps negative sizes
            torch.testing.assert_close(values["boxes"][positive], expected[positive, 1:5], **POST)
