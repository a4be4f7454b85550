"""Let Lightning start processes of its own for a job, also for each job of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

TRACEBACK_WANTED = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables; at the end all variables are as they were before."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def one_job() -> Iterator[None]:
    """Describe one job of a sweep, and nothing but it, to the processes that Lightning starts for DDP.

    Lightning starts them with this process' `sys.argv` and `hydra.run.dir`: unchanged, each would run the whole sweep.
    Afterwards the process group is closed and its environment variables are gone, else Lightning would believe that the
    next job was started from outside and would start no processes.
    """
    before = list(sys.argv)
    sys.argv[1:] = _command_line()
    with environment(HYDRA_FULL_ERROR="1" if TRACEBACK_WANTED else "0"):
        try:
            yield
        finally:
            _close_process_group()
            sys.argv[:] = before


def _command_line() -> list[str]:
    config: Any = HydraConfig.get()
    with read_write(config):
        config.run.dir = config.runtime.output_dir
    flags = [word for word in sys.argv[1:] if word.startswith("--config-")]
    own = [override for override in config.overrides.hydra if not override.startswith("hydra.mode=")]
    return [*flags, *own, *config.overrides.task, "hydra.mode=RUN"]


def _close_process_group() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
