"""Several processes with unequal numbers of objects train as one with all their images; all stop, or skip, together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.processes import EQUAL


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each rank of each scenario wrote."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-W", "ignore", "-m", "tests.processes", str(folder)]
    checkout = Path(__file__).parents[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=checkout, env=environment, timeout=240, capture_output=True)
    return {file.stem: torch.load(file, weights_only=True) for file in folder.iterdir()}


def largest_difference(first, second):
    return max((first["weights"][name] - second["weights"][name]).abs().max().item() for name in first["weights"])


@pytest.mark.parametrize(("name", "ranks"), [(name, 2) for name in EQUAL] + [("plain", 3)])
def test_several_processes_equal_one_with_all_images(name, ranks, results):
    alone = results[f"{name}, 1 of {ranks}, rank 0"]
    for rank in range(ranks):
        together = results[f"{name}, {ranks} of {ranks}, rank {rank}"]
        assert "error" not in together, together["error"]
        assert largest_difference(alone, together) < 2e-6


def test_sharded_parameters(results):
    alone = results["learned weights, 1 of 2, rank 0"]
    assert largest_difference(alone, results["sharded, rank 1"]) < 2e-6


def test_without_global_normalization_they_do_not(results):
    assert largest_difference(results["plain, 1 of 2, rank 0"], results["per process, rank 0"]) > 1e-4


def test_one_bad_process_stops_all(results):
    for rank in (0, 1):
        said = results[f"bad on rank 1, rank {rank}"]["error"]
        assert said.startswith("step 1 (epoch 0, batch 1): the loss of wh is nan"), said
        assert "images: file step 1 rank 1 a.jpg, step 1 rank 1 b.jpg" in said


def test_spoiled_statistics_of_one_process_stop_all(results):
    for rank in (0, 1):
        assert results[f"bad statistics, rank {rank}"]["error"].startswith("the running statistics network.")


def test_a_head_is_missing_where_no_process_learns_it(results):
    for rank in (0, 1):
        assert "error" not in results[f"each lacks another head, rank {rank}"]
        said = results[f"both lack a head, rank {rank}"]["error"]
        assert said == "no batch of the epoch had targets for head `wh` (`wh`): add them, or remove the head"


@pytest.mark.parametrize("kind", ["fused", "plain"])
def test_one_bad_process_makes_all_skip(kind, results):
    for rank in (0, 1):
        skipped, without = (results[f"{kind} {what}, rank {rank}"] for what in ("skips", "without"))
        assert largest_difference(skipped, without) == 0
        assert skipped["logged"]["train/skipped_steps"] == 2
