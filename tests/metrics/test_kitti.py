"""KittiMetrics against KITTI's own program, against its rules applied slowly, and against answers known by hand."""

from __future__ import annotations

import json
import math
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.distributed
from torch import nn

from lightning_centernet.data import kitti
from lightning_centernet.errors import UserError
from lightning_centernet.metrics import KittiMetrics
from lightning_centernet.metrics.kitti_precision import recall_thresholds
from lightning_centernet.metrics.kitti_rules import TYPES
from tests.golden_files import COMMITTED
from tests.metrics.kitti_frames import CLASSES, as_prediction, as_target, fake_frames, region
from tests.metrics.kitti_reference import LIMITS, Line, average_precision

CAR, PERSON = "Car/{}_moderate_iou0.7", "Pedestrian/{}_moderate_iou0.5"
MANY = 200  # frames: with fewer than 41 objects even perfection scores less than 100


def measure(frames, metric=None, dtype=torch.float64):
    """Compute the average precisions."""
    metric = metric or KittiMetrics(CLASSES)
    for image_id, (found, meant) in enumerate(frames):
        metric.update([as_prediction(found, dtype)], [as_target(meant, image_id, dtype)])
    return precisions(metric)


def precisions(metric):
    return {key: value for key, value in metric.compute().items() if "/depth_error_" not in key}


@pytest.fixture(scope="module")
def official():
    content = json.loads((COMMITTED / "kitti_official.json").read_text())
    frames = [tuple([parse(line) for line in frame[name]] for name in frame) for frame in content["frames"]]
    return frames, content["scores"]


def parse(text):
    name, *values = text.split()
    numbers = [float(value) for value in values]
    truncation, occlusion, alpha, *box = numbers[:7]
    line = Line(name, truncation, int(occlusion), alpha, tuple(box), tuple(numbers[7:10]), tuple(numbers[10:13]), 0)
    return line._replace(rotation=numbers[13], score=numbers[14] if len(numbers) > 14 else 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_the_official_program(official, dtype):
    frames, scores = official
    assert measure(frames, dtype=dtype) == pytest.approx(scores, abs=1e-8)
    assert sum(score > 1 for score in scores.values()) > 60


@pytest.mark.parametrize(("number", "seed"), [(25, 0), (25, 1), (3, 2), (3, 3)])
def test_equals_the_rules_applied_slowly(number, seed):
    frames = fake_frames(number, seed)
    result = measure(frames)
    assert len(result) == 3 * 3 * 2 * 6
    for name in CLASSES:
        for difficulty in LIMITS:
            for kind in ("bbox", "bev", "3d"):
                for minimum in ((0.7, 0.5) if name == "Car" else (0.5, 0.25))[: 1 if kind == "bbox" else 2]:
                    expected = average_precision(frames, name, difficulty, kind, minimum) or (-1.0,) * 4
                    measures = [(kind, 11), (kind, 40), ("aos", 11), ("aos", 40)][: 4 if kind == "bbox" else 2]
                    for (measured, points), value in zip(measures, expected, strict=False):
                        key = f"{name}/{measured}_ap{points}_{difficulty}_iou{minimum:g}"
                        assert result[key] == pytest.approx(value, abs=1e-9), key


def an_object(name="Car", left=100.0, height=100.0, width=100.0, **fields):
    """An object whose place in space is as far from others as its place in the image."""
    box = (left, 200.0 - height, left + width, 200.0)
    line = Line(name, 0.0, 0, 0.0, box, (1.5, 1.6, 4.0), (left / 10, 1.6, 20.0), 0.0, score=0.5)
    return line._replace(**fields)


def score(found, meant, key="Car/bbox_ap40_moderate_iou0.7"):
    return measure([(found, meant)] * MANY)[key]


class TestRules:
    def test_perfect(self):
        objects = [an_object(name, left) for name, left in zip(CLASSES, (0.0, 200.0, 400.0), strict=True)]
        result = measure([(objects, objects)] * MANY)
        assert result == pytest.approx(dict.fromkeys(result, 100.0))

    def test_few_objects_cannot_score_100(self):
        """One score is one threshold, of the first recall, which AP40 leaves out."""
        result = measure([([an_object()], [an_object()])])
        assert result[CAR.format("bbox_ap11")] == pytest.approx(100 / 11)
        assert result[CAR.format("bbox_ap40")] == 0

    @pytest.mark.parametrize(
        ("fields", "counts"),
        [
            ({"height": 40.0}, "easy moderate hard"),
            ({"height": 39.9}, "moderate hard"),
            ({"height": 25.0}, "moderate hard"),
            ({"height": 24.9}, ""),
            ({"occlusion": 1}, "moderate hard"),
            ({"occlusion": 2}, "hard"),
            ({"occlusion": 3}, ""),
            ({"truncation": 0.15}, "easy moderate hard"),
            ({"truncation": 0.16}, "moderate hard"),
            ({"truncation": 0.3}, "moderate hard"),
            ({"truncation": 0.5}, "hard"),
            ({"truncation": 0.51}, ""),
        ],
    )
    def test_difficulties(self, fields, counts):
        for dtype in (torch.float64, torch.float32):
            result = measure([([], [an_object(**fields)])], dtype=dtype)
            defined = [name for name in LIMITS if result[f"Car/bbox_ap11_{name}_iou0.7"] >= 0]
            assert defined == counts.split()

    def test_truncation_in_float32_among_float64(self):
        target = as_target([an_object()], 0) | {"truncation": torch.tensor([0.3])}
        metric = KittiMetrics(CLASSES)
        metric.update([as_prediction([])], [target])
        assert metric.compute()[CAR.format("bbox_ap11")] == 0

    @pytest.mark.parametrize(
        ("found_as", "other", "expected"),
        [
            ("Car", "Van", 100),
            ("Car", "Truck", 50),
            ("Pedestrian", "Person_sitting", 100),
            ("Pedestrian", "Van", 50),
            ("Cyclist", "Person_sitting", 50),
        ],
    )
    def test_neighbours_are_no_mistakes(self, found_as, other, expected):
        meant = [an_object(found_as), an_object(other, left=300)]
        found = [an_object(found_as), an_object(found_as, left=300, score=0.9)]
        minimum = 0.7 if found_as == "Car" else 0.5
        assert score(found, meant, f"{found_as}/3d_ap40_moderate_iou{minimum}") == pytest.approx(expected)

    def test_what_is_too_hard_is_no_mistake(self):
        meant = [an_object(), an_object(left=300, occlusion=3)]
        found = [an_object(), an_object(left=300, score=0.9)]
        assert score(found, meant) == pytest.approx(100)

    @pytest.mark.parametrize(("right", "expected"), [(369.0, 50), (371.0, 100), (9000.0, 100)])
    def test_regions_excuse_what_lies_in_them(self, right, expected):
        """By the share of the detection, which is 100 wide, that they cover; not in space, where they have no place."""
        found = [an_object(), an_object(left=300, score=0.9)]
        result = measure([(found, [an_object(), region((300.0, 0.0, right, 500.0))])] * MANY)
        assert result[CAR.format("bbox_ap40")] == pytest.approx(expected)
        assert result[CAR.format("3d_ap40")] == pytest.approx(50)

    @pytest.mark.parametrize(("height", "expected"), [(24.9, 100), (25.0, 50)])
    def test_small_detections_are_no_mistakes(self, height, expected):
        found = [an_object(), an_object(left=300, height=height, score=0.9)]
        assert score(found, [an_object()]) == pytest.approx(expected)

    def test_a_small_detection_uses_up_its_object(self):
        """Whatever its class: the object counts as not found, the detection as no mistake."""
        small, meant = an_object("Cyclist", height=24.0, score=0.9), [an_object(height=25.0), an_object(left=300)]
        assert score([small, an_object(left=300)], meant) == pytest.approx(50)

    def test_a_small_detection_comes_second(self):
        """With one of full height there, only a higher score lets it hide the object, when thresholds are chosen."""
        small, large, meant = an_object("Cyclist", height=24.0), an_object(height=25.0), [an_object(height=25.0)]
        assert score([small._replace(score=0.4), large], meant) == pytest.approx(100)
        assert score([small._replace(score=0.9), large], meant) == 0

    def test_a_second_detection_is_wrong(self):
        assert score([an_object(), an_object()], [an_object()]) == pytest.approx(50)
        assert score([an_object(), an_object(score=0.4)], [an_object()]) == pytest.approx(100)  # below all thresholds

    @pytest.mark.parametrize(("height", "expected"), [(50.0, 0), (50.1, 100)])
    def test_the_overlap_must_exceed_the_minimum(self, height, expected):
        found = [an_object("Pedestrian", height=height)]
        assert score(found, [an_object("Pedestrian")], PERSON.format("bbox_ap40")) == pytest.approx(expected)

    @pytest.mark.parametrize(("alpha", "expected"), [(0.0, 100), (math.pi / 2, 50), (math.pi, 0), (2 * math.pi, 100)])
    def test_orientation(self, alpha, expected):
        found = [an_object(alpha=alpha)]
        assert score(found, [an_object()], CAR.format("aos_ap40")) == pytest.approx(expected)

    def test_space(self):
        """Half a length further, a third is shared; half a height lower too, a seventh."""
        found = [an_object("Pedestrian", place=(12.0, 1.6, 20.0), size=(2.0, 1.6, 4.0))]
        meant = [an_object("Pedestrian", place=(10.0, 1.6, 20.0), size=(2.0, 1.6, 4.0))]
        result = measure([(found, meant)] * MANY)
        assert [result[f"Pedestrian/{kind}_ap40_easy_iou0.25"] for kind in ("bev", "3d")] == pytest.approx([100] * 2)
        assert [result[f"Pedestrian/{kind}_ap40_easy_iou0.5"] for kind in ("bev", "3d")] == [0, 0]
        lower = [found[0]._replace(place=(12.0, 2.6, 20.0))]
        result = measure([(lower, meant)] * MANY)
        assert [result[f"Pedestrian/{kind}_ap40_easy_iou0.25"] for kind in ("bev", "3d")] == pytest.approx([100, 0])


class TestThresholds:
    def test_the_nearest_score_to_each_recall(self):
        """Of 80 objects every second one, after the first, lies on a recall."""
        scores = np.arange(80.0)[::-1]
        assert recall_thresholds(scores, 80).tolist() == [79, *range(78, -1, -2)]

    def test_of_two_equally_near_the_higher(self):
        """The recall 0.125 lies between those of 7 and 8 of 60."""
        chosen = recall_thresholds(np.arange(60.0)[::-1], 60).tolist()
        assert 60 - 7 in chosen
        assert 60 - 8 not in chosen

    def test_the_last_score_is_always_one(self):
        assert recall_thresholds(np.array([0.9, 0.8, 0.7]), 400).tolist() == [0.9, 0.7]

    def test_each_score_once(self):
        assert recall_thresholds(np.array([0.9, 0.8]), 2).tolist() == [0.9, 0.8]

    def test_none_counts_at_a_threshold(self):
        """By score, an ignored object leaves the second detection to a wanted one; by overlap, it takes that itself.

        The first then lies in a region. There the program divides by zero.
        """
        ignored, wanted = an_object(left=100, occlusion=3), an_object(left=110)
        found = [an_object(left=90, score=0.9), an_object(left=103, score=0.5)]
        assert measure([(found, [ignored, wanted, region((80.0, 0.0, 165.0, 300.0))])])[CAR.format("bbox_ap11")] == 0


def without(fields, items):
    return {name: value for name, value in items.items() if name not in fields}


class TestFields:
    @pytest.mark.parametrize(("lacking", "left_out"), [(["alpha"], {"aos"}), (["location"], {"bev", "3d", "depth"})])
    def test_what_is_not_predicted_is_not_measured(self, lacking, left_out):
        metric = KittiMetrics(CLASSES)
        found, meant = fake_frames(1)[0]
        metric.update([without(lacking, as_prediction(found))], [as_target(meant, 0)])
        kinds = {key.split("/")[1].split("_")[0] for key in metric.compute()}
        assert kinds == {"bbox", "aos", "bev", "3d", "depth"} - left_out

    @pytest.mark.parametrize("size", [(-1.0, -1.0, -1.0), (0.0, 1.6, 4.0)])
    def test_impossible_boxes_score_nothing(self, size):
        """So that a checkpoint can be chosen by the score from the first epoch on."""
        result = measure([([an_object(size=size)], [an_object()])] * MANY)
        assert result[CAR.format("bbox_ap40")] == 100
        assert result[CAR.format("3d_ap40")] == 0

    def test_kittis_sign_for_no_place(self):
        nowhere = an_object(size=(-1.0,) * 3, place=(-1000.0,) * 3, rotation=-10.0)
        kinds = {key.split("/")[1].split("_")[0] for key in measure([([nowhere], [an_object()])])}
        assert kinds == {"bbox", "aos"}

    def test_kittis_sign_for_no_orientation(self):
        frames = [([an_object(), an_object(left=300, alpha=-10.0)], [an_object()])]
        assert not any("aos" in key for key in measure(frames))

    def test_labels_say_the_same_as_types(self):
        metric = KittiMetrics(CLASSES)
        labels = {name: label for label, name in enumerate(CLASSES)} | {"DontCare": -1, "Truck": 99}
        similar = {"Van": 0, "Person_sitting": 1}
        frames = fake_frames(12)
        for image_id, (found, meant) in enumerate(frames):
            target = without(["types"], as_target(meant, image_id))
            target["labels"] = torch.tensor([(labels | similar)[line.type] for line in meant], dtype=torch.int64)
            target["ignore"] = torch.tensor([line.type in [*similar, "DontCare"] for line in meant], dtype=torch.bool)
            metric.update([as_prediction(found)], [target])
        assert precisions(metric) == measure(frames)

    def test_a_neighbour_may_be_a_class_of_its_own(self):
        metric = KittiMetrics((*CLASSES, "Van"))
        frames = fake_frames(12)
        result = measure(frames, metric)
        assert {key: value for key, value in result.items() if not key.startswith("Van")} == measure(frames)
        assert result["Van/bbox_ap11_hard_iou0.5"] == 0

    def test_any_class_has_rules(self):
        metric = KittiMetrics(["bus", "car"])
        bare = {name: as_prediction([an_object()])[name] for name in ("boxes", "labels", "scores")}
        target = without(["scores"], bare) | {"image_id": torch.tensor(3)}
        metric.update([bare], [target])
        result = metric.compute()
        assert result["bus/bbox_ap11_easy_iou0.5"] == pytest.approx(100 / 11)
        assert result["car/bbox_ap11_easy_iou0.7"] == -1
        assert len(result) == 2 * 3 * 2

    def test_repeated_class_name_is_refused(self):
        with pytest.raises(UserError, match=r"Car.*more than once"):
            KittiMetrics(["Car", "Van", "Car"])


class TestEmpty:
    @pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
    def test_nothing_to_find(self):
        keys = measure(fake_frames(3)).keys()
        for frames in ([], [([], [])], [([an_object()], [])], [([an_object()], [an_object("Truck")])]):
            assert measure(frames) == dict.fromkeys(keys, -1.0)

    def test_nothing_found(self):
        result = measure([([], [an_object(name) for name in CLASSES])])
        assert len(result) == 108
        assert set(result.values()) == {0}

    def test_frames_without_objects_hold_mistakes(self):
        frames = [([an_object()], [an_object()]), ([an_object()], [])] * MANY
        assert measure(frames)[CAR.format("bev_ap40")] == pytest.approx(50)


class TestStates:
    def test_an_image_counts_once_whatever_the_order(self):
        frames = fake_frames(12)
        metric = KittiMetrics(CLASSES)
        for image_id in (7, 3, 3, *range(12), 0):
            metric.update([as_prediction(frames[image_id][0])], [as_target(frames[image_id][1], image_id)])
        assert precisions(metric) == measure(frames)

    def test_goes_on_after_compute_and_starts_anew_after_reset(self):
        frames = fake_frames(12)
        metric = KittiMetrics(CLASSES)
        measure(frames[:6], metric)
        assert measure(frames, metric) == measure(frames)
        metric.reset()
        assert measure(frames[:6], metric) == measure(frames[:6])

    def test_casts_and_pickles_keep_the_numbers(self):
        frames = fake_frames(8)
        module = nn.ModuleDict({"metric": KittiMetrics(CLASSES)})
        measure(frames[:4], module["metric"])
        module = pickle.loads(pickle.dumps(module.to(torch.bfloat16).half().cpu()))
        assert measure(frames, module["metric"]) == measure(frames)

    def test_leaves_its_input_alone(self):
        found, meant = fake_frames(1)[0]
        items = [as_prediction(found)], [as_target(meant, 0)]
        before = pickle.dumps(items)
        metric = KittiMetrics(CLASSES)
        metric.update(*items)
        metric.compute()
        assert pickle.dumps(items) == before


@pytest.mark.parametrize("share", [[(0, 2, 4, 6), (1, 3, 5, 0)], [(), range(7)], [range(3), (), range(3, 7)]])
def test_ranks_agree_with_one_process(share, monkeypatch):
    """Each rank is a thread, and what they send each other goes through a dict."""
    frames, rank, sent, everybody = fake_frames(7), threading.local(), {}, threading.Barrier(len(share))

    def gather(received, mine, group):
        sent[rank.number] = pickle.dumps(mine)
        everybody.wait(timeout=20)
        received[:] = [pickle.loads(sent[number]) for number in range(len(received))]

    def run(number):
        rank.number = number
        metric = KittiMetrics(CLASSES)
        metric.distributed_available_fn = lambda: True
        for image_id in share[number]:
            metric.update([as_prediction(frames[image_id][0])], [as_target(frames[image_id][1], image_id)])
        return precisions(metric)

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: len(share))
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with ThreadPoolExecutor(len(share)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rank may have seen nothing
        assert list(pool.map(run, range(len(share)))) == [measure(frames)] * len(share)


def test_types_are_those_of_the_reader():
    assert TYPES == kitti.TYPES
