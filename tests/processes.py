"""Trainings on several CPU processes: `python -m tests.processes FOLDER` runs all, and each rank writes what came out.

A program of its own, because processes can be forked only before anything was trained, and are quickly there.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from pathlib import Path

import torch
from lightning import LightningDataModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import multiprocessing
from torch.distributed.fsdp import fully_shard
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader

from lightning_centernet import CenterNet, UserError
from lightning_centernet.testing import fake_batch
from tests.tiny import DETECTION, quiet_trainer, tiny_model

NAN = float("nan")
STEPS = 4
NORMALIZED = {"name": "test_resnet", "neck_channels": 8}
LAST_IMAGE = {"bad": [(STEPS - 1, 1)], "spoiled": "image"}  # the next step would begin with rank 0's statistics
OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.05, momentum=0.9),
    "fused": partial(Adam, lr=0.01, fused=True),
    "plain": partial(Adam, lr=0.01),
}


def share(step, rank, **options):
    """One rank's batch of a step: the ranks have unequal numbers of objects, and the last one sometimes none."""
    objects = (3 * rank + step) % 7
    batch = fake_batch(DETECTION, batch_size=2, objects=objects, seed=100 * step + rank, **options)
    return batch | {"file": [f"step {step} rank {rank} {name}.jpg" for name in "ab"]}


def joined(batches):
    """One process' batch of all the ranks' images."""
    tensors = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0] if name != "file"}
    return tensors | {"file": [file for batch in batches for file in batch["file"]]}


class Unequal(LightningDataModule):
    """The first process has `wh` in no batch, the second has `reg` in none, and neither has the `lacking` heads."""

    def __init__(self, lacking=()):
        super().__init__()
        self.lacking = lacking

    def train_dataloader(self):
        lacking = {*self.lacking, ("wh", "reg")[self.trainer.global_rank]}
        return DataLoader(
            [{name: v for name, v in fake_batch(DETECTION).items() if name not in lacking}], batch_size=None
        )


class Shares(LightningDataModule):
    """Each rank's batches; a single process gets those of `ranks` ranks, in one batch each step."""

    def __init__(self, ranks, bad=(), left_out=(), second_set=False, spoiled="wh"):
        super().__init__()
        self.ranks, self.bad, self.left_out, self.second_set = ranks, bad, left_out, second_set
        self.spoiled = spoiled

    def train_dataloader(self):
        first = self.loader(0)
        return [first, self.loader(50, lacking="wh")] if self.second_set else first

    def loader(self, start, lacking=None):
        batches = []
        for step in (step for step in range(STEPS) if step not in self.left_out):
            ranks = [self.trainer.global_rank] if self.trainer.world_size > 1 else range(self.ranks)
            batch = joined([share(start + step, rank) for rank in ranks])
            if (step, self.trainer.global_rank) in self.bad:
                batch[self.spoiled][0, 0, 0] = NAN
            batches.append({name: value for name, value in batch.items() if name != lacking})
        return DataLoader(batches, batch_size=None)


class Sharded(CenterNet):
    """Each process holds a part of every parameter."""

    def configure_model(self):
        self.network.to(memory_format=torch.contiguous_format)  # the only one that can be sharded
        for part in (self.network, self.criterion):
            fully_shard(part, mesh=self.device_mesh["data_parallel"])


def train(ranks, optimizer="sgd", data=None, trainer=None, sharded=False, **options):
    """Train; the weights afterwards."""
    model = tiny_model(optimizer=OPTIMIZERS[optimizer], kind=Sharded if sharded else CenterNet, **options)
    devices = int(os.environ["WORLD_SIZE"])
    strategy = ModelParallelStrategy(devices, 1) if sharded else "ddp" if devices > 1 else "auto"
    run = quiet_trainer(strategy=strategy, devices=devices, use_distributed_sampler=False, **trainer or {})
    try:
        run.fit(model, data if isinstance(data, LightningDataModule) else Shares(ranks, **data or {}))
    except UserError as error:
        return {"error": str(error)}
    values = {name: value.item() for name, value in run.callback_metrics.items()}
    weights = {name: getattr(value, "full_tensor", value.clone)() for name, value in model.state_dict().items()}
    return {"weights": weights, "logged": values}


EQUAL = {
    "plain": {},
    "accumulated and clipped": {"trainer": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}},
    "learned weights": {"weighting": "kendall"},
    "two data sets": {"data": {"second_set": True}, "weighting": "kendall"},
}
SCENARIOS = {
    f"{name}, {processes} of {ranks}": (processes, partial(train, ranks, normalize="global", **options))
    for name, options in EQUAL.items()
    for ranks in ((2, 3) if name == "plain" else (2,))
    for processes in (1, ranks)
} | {
    "per process": (2, partial(train, 2)),
    "sharded": (2, partial(train, 2, normalize="global", weighting="kendall", sharded=True)),
    "each lacks another head": (2, partial(train, 2, data=Unequal())),
    "both lack a head": (2, partial(train, 2, data=Unequal(["wh"]))),
    "bad on rank 1": (2, partial(train, 2, data={"bad": [(1, 1)]})),
    "bad statistics": (2, partial(train, 2, on_anomaly="skip", backbone=NORMALIZED, data=LAST_IMAGE)),
    **{
        f"{kind} {what}": (2, partial(train, 2, kind, on_anomaly="skip", data=data))
        for kind in ("fused", "plain")
        for what, data in {"skips": {"bad": [(1, 1), (2, 0)]}, "without": {"left_out": [1, 2]}}.items()
    },
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run(rank, processes, port, folder):
    """Be one of some processes, as torchrun would start it, in all scenarios of that many."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(value) for name, value in names.items()} | {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "x"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for scenario, (count, train_it) in SCENARIOS.items():
        if count == processes:
            torch.save(train_it(), Path(folder) / f"{scenario}, rank {rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number in (1, 2, 3):
        multiprocessing.start_processes(run, (number, free_port(), sys.argv[1]), number, start_method="fork")
