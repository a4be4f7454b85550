"""KittiMetrics beyond the benchmark: classes of other names, pictures of another height, the error of depths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_centernet.errors import UserError
from lightning_centernet.metrics import KittiMetrics
from tests.metrics.kitti_frames import CLASSES, as_prediction, as_target, fake_frames
from tests.metrics.kitti_reference import LIMITS, Frame
from tests.metrics.test_kitti import MANY, an_object, measure

METRES, RELATIVE = "Car/depth_error_metres_moderate_iou0.5", "Car/depth_error_relative_moderate_iou0.5"


def depth_errors(frames, metric=None):
    metric = metric or KittiMetrics(CLASSES)
    measure(frames, metric)
    return {key: value for key, value in metric.compute().items() if "/depth_error_" in key}


class TestOptions:
    def test_classes_of_other_names(self):
        """The rules of Car for its overlaps and its neighbour."""
        classes, frames = ("vehicle", "PEDESTRIAN", "Cyclist", "Van"), fake_frames(12)
        ours = KittiMetrics(classes, rules={"vehicle": "Car"})
        theirs = measure(frames, KittiMetrics((*CLASSES, "Van")))
        for image_id, (found, meant) in enumerate(frames):
            target = as_target(meant, image_id)
            names = [line.type for line in meant]
            labels = {"Car": 0, "Pedestrian": 1, "Cyclist": 2, "Van": 3, "DontCare": -1, "Person_sitting": 1}
            target["labels"] = torch.tensor([labels.get(name, 9) for name in names], dtype=torch.int64)
            target["ignore"] = torch.tensor([name == "Person_sitting" for name in names], dtype=torch.bool)
            del target["types"]
            ours.update([as_prediction(found)], [target])
        result = {key: value for key, value in ours.compute().items() if "/depth_error_" not in key}
        renamed = {"Car": "vehicle", "Pedestrian": "PEDESTRIAN"}
        expected = {}
        for key, value in theirs.items():
            name, measured = key.split("/")
            expected[f"{renamed.get(name, name)}/{measured}"] = value
        assert result == expected

    @pytest.mark.parametrize(("height", "counts"), [(20.0, "easy moderate hard"), (13.0, "moderate hard"), (12.9, "")])
    def test_heights(self, height, counts):
        metric = KittiMetrics(CLASSES, heights=(20, 13, 13))
        result = measure([([], [an_object(height=height)])], metric)
        assert [name for name in LIMITS if result[f"Car/bbox_ap11_{name}_iou0.7"] >= 0] == counts.split()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rules": {"lorry": "Car"}}, "lorry.*none of the classes Car"),
            ({"rules": {"Car": "Van"}}, "Car, Pedestrian, Cyclist only"),
            ({"heights": (40, 25)}, "easy, moderate and hard"),
            ({"heights": (40, 25, 0)}, "easy, moderate and hard"),
            ({"heights": 25}, "easy, moderate and hard"),
            ({"heights": (40, 25, "low")}, "easy, moderate and hard"),
            ({"rules": ["Car"]}, "must map classes to Car, Pedestrian, Cyclist"),
        ],
    )
    def test_impossible_options_are_refused(self, options, message):
        with pytest.raises(UserError, match=message):
            KittiMetrics(CLASSES, **options)


def slow_errors(frames, name, difficulty):
    """The errors, one object and one detection at a time."""
    errors = []
    for found, meant in frames:
        frame, taken = Frame(found, meant, name, difficulty, "bbox", 0.5), set()
        for row, line in enumerate(meant):
            free = [j for j, claim in enumerate(frame.claims) if claim == 0 and j not in taken]
            free = [j for j in free if frame.objects[row] == 0 and frame.iou[row][j] > 0.5]
            if free:
                best = max(free, key=lambda j: found[j].score)
                taken.add(best)
                errors.append((abs(found[best].place[2] - line.place[2]), line.place[2]))
    return errors


class TestDepth:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_equals_the_slow_way(self, seed):
        frames = fake_frames(120, seed)
        result = depth_errors(frames)
        assert len(result) == 3 * 3 * 2
        for name in CLASSES:
            for difficulty in LIMITS:
                errors = slow_errors(frames, name, difficulty)
                assert errors
                key = f"{name}/depth_error_{{}}_{difficulty}_iou0.5"
                assert result[key.format("metres")] == pytest.approx(np.mean([error for error, _ in errors]))
                assert result[key.format("relative")] == pytest.approx(np.mean([e / true for e, true in errors]))

    def test_by_hand(self):
        """Of two detections the better-scored one counts, and what finds nothing does not."""
        meant = [an_object(), an_object(left=300, place=(30.0, 1.6, 10.0)), an_object(left=600)]
        found = [
            an_object(place=(10.0, 1.6, 23.0), score=0.4),
            an_object(place=(10.0, 1.6, 21.0), score=0.01),
            an_object(left=300, place=(30.0, 1.6, 9.0)),
            an_object(left=800, place=(30.0, 1.6, 90.0)),
        ]
        result = depth_errors([(found, meant)] * 3)
        assert result[METRES] == pytest.approx((3 + 1) / 2)
        assert result[RELATIVE] == pytest.approx((3 / 20 + 1 / 10) / 2)

    def test_nothing_found(self):
        for frames in ([([], [an_object()])], [([an_object()], [])], [([an_object("Cyclist")], [an_object()])]):
            assert math.isnan(depth_errors(frames)[METRES])

    def test_perfect(self):
        objects = [an_object(name, left) for name, left in zip(CLASSES, (0.0, 200.0, 400.0), strict=True)]
        assert set(depth_errors([(objects, objects)] * MANY).values()) == {0}

    def test_images_do_not_mix(self):
        near, far = an_object(place=(10.0, 1.6, 10.0)), an_object(place=(10.0, 1.6, 40.0))
        assert depth_errors([([near], [near]), ([far], [far])])[METRES] == 0
