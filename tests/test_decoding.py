"""Peaks and the fold over the heads; tests/heads/test_round_trip.py compares them with the encoder."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet import UserError, decode, standard_heads
from lightning_centernet.decoding import decoding_order, to_image
from lightning_centernet.geometry.affine import similarity, transform_boxes
from lightning_centernet.heads import Field, Offset, Size


class TestDecode:
    def test_more_peaks_asked_for_than_cells(self):
        heads = standard_heads({"hm": 2, "wh": 2, "reg": 2})
        outputs = {"hm": torch.randn(3, 2, 2, 3), "wh": torch.rand(3, 2, 2, 3), "reg": torch.rand(3, 2, 2, 3)}
        detections = decode(outputs, heads, k=40)
        assert {name: tuple(v.shape[:2]) for name, v in detections.items()} == dict.fromkeys(detections, (3, 40))
        assert (detections["scores"][:, 12:] == 0).all()
        assert (detections["scores"].diff(dim=1) <= 0).all()
        fewer = decode(outputs, heads, k=2)  # each image has as many peaks
        for name, values in fewer.items():
            torch.testing.assert_close(values, detections[name][:, :2])

    def test_center_without_an_offset_is_the_middle_of_its_cell(self):
        heatmap = torch.full((1, 1, 4, 6), -9.0)
        heatmap[0, 0, 2, 5] = 3
        detections = decode({"hm": heatmap, "wh": torch.full((1, 2, 4, 6), 2.0)}, {"hm": 1, "wh": 2}, k=1)
        assert detections["cells"].tolist() == [[[5.0, 2.0]]]
        assert detections["centers"].tolist() == [[[5.5, 2.5]]]
        assert detections["boxes"].tolist() == [[[4.5, 1.5, 6.5, 3.5]]]

    def test_negative_size_is_an_empty_box(self):
        size = torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1)
        detections = decode({"hm": torch.zeros(1, 1, 1, 1), "wh": size}, {"hm": 1, "wh": 2}, k=1)
        assert detections["boxes"].tolist() == [[[0.5, -0.5, 0.5, 1.5]]]

    def test_outputs_stay_as_they_are(self):
        outputs = {"hm": torch.randn(1, 2, 8, 8), "wh": torch.randn(1, 2, 8, 8), "rot": torch.randn(1, 8, 8, 8)}
        kept = {name: values.clone() for name, values in outputs.items()}
        decode(outputs, {"hm": 2, "wh": 2, "rot": 8}, k=5)
        for name, values in kept.items():
            torch.testing.assert_close(outputs[name], values, rtol=0, atol=0)

    def test_no_gradient(self):
        assert not decode({"hm": torch.randn(1, 2, 8, 8, requires_grad=True)}, {"hm": 2}, k=5)["scores"].requires_grad

    def test_half_precision(self):
        heads = standard_heads({"hm": 2, "wh": 2, "reg": 2})
        outputs = {name: torch.randn(1, 2, 8, 8).half() for name in heads}
        detections = decode(outputs, heads, k=5)
        assert detections["boxes"].dtype == detections["scores"].dtype == torch.float32
        full = decode({name: values.float() for name, values in outputs.items()}, heads, k=5)
        torch.testing.assert_close(detections["boxes"], full["boxes"])

    @pytest.mark.parametrize("missing", ["hm", "wh"])
    def test_missing_output(self, missing):
        outputs = {name: torch.zeros(1, 2, 8, 8) for name in ("hm", "wh") if name != missing}
        with pytest.raises(UserError, match=f"no output for head `{missing}`"):
            decode(outputs, {"hm": 2, "wh": 2})

    def test_no_heat_map(self):
        with pytest.raises(UserError, match="`hm`"):
            decode({"wh": torch.zeros(1, 2, 8, 8)}, {"wh": 2})

    def test_order(self):
        heads = standard_heads({"wh": 2, "reg": 2, "ltrb": 4})
        backwards = [heads["ltrb"], heads["wh"], heads["reg"]]
        assert [head.name for head in decoding_order(backwards)] == ["ltrb", "reg", "wh"]

    def test_missing_field(self):
        class Pointed(Field):
            needs = ("locations",)

        with pytest.raises(UserError, match="head `arrow` needs the field `locations`, which no other head provides"):
            decoding_order([Offset(name="reg", channels=2), Pointed(name="arrow", channels=1)])

    def test_circle(self):
        class First(Field):
            needs = ("second",)

        class Second(Field):
            needs = ("first",)

        pair = [First(name="first", channels=1), Second(name="second", channels=1), Size(name="wh", channels=2)]
        with pytest.raises(UserError, match="in a circle: first, second"):
            decoding_order(pair)


@pytest.mark.parametrize("rotation", [0.0, 90.0, 180.0])
def test_to_image_undoes_the_transform(rotation):
    boxes = torch.tensor([[[10.0, 20, 110, 70], [0, 0, 1, 1]], [[5, 5, 300, 400], [-3, 9, 14, 22]]])
    transforms = torch.stack(
        [similarity((101.5, 77.25), 333.0, rotation, (160, 96)), similarity((12.0, 80.0), 51.0, rotation, (160, 96))]
    )
    on_grid = transform_boxes(boxes, transforms) / 4
    detections = {"boxes": on_grid, "scores": torch.rand(2, 2)}
    back = to_image(detections, transforms, 4)
    torch.testing.assert_close(back["boxes"], boxes, rtol=0, atol=2e-4)
    assert back["boxes"].dtype == torch.float32
    assert detections["boxes"] is on_grid
