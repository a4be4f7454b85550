"""The command line, the only place that knows Hydra."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from omegaconf import DictConfig

from lightning_centernet._conf import NAME as CONF
from lightning_centernet.cli.arguments import USAGE, arrange, complete_command, package_version
from lightning_centernet.cli.launch import TRACEBACK_WANTED, environment, one_job
from lightning_centernet.cli.loss_options import join_loss_options
from lightning_centernet.cli.suggest import check_kinds, explain


def main() -> None:
    """Run one command, for example `fit data=voc`.

    Exits with 0, or 2 when the command line is wrong, or 1 after any other error. A user's mistake is explained without
    a traceback, unless HYDRA_FULL_ERROR=1.
    """
    if "--version" in sys.argv:
        print(f"lightning-centernet {package_version()}")  # noqa: T201 - the answer itself
        return
    answer = complete_command(sys.argv[1:])
    if answer:
        print(answer)  # noqa: T201 - the answer itself
        return
    # Threads that spin long while they wait take the cores from the loader's workers.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    with _explained():
        sys.argv[1:] = join_loss_options(arrange(sys.argv[1:]))
        if "--help" in sys.argv:
            print(USAGE)  # noqa: T201 - Hydra prints the rest
        with environment(HYDRA_FULL_ERROR="1"):  # so that Hydra raises its errors here, instead of printing them
            _job()


@hydra.main(version_base="1.3", config_path=f"pkg://{CONF}", config_name="config")
def _job(config: DictConfig) -> float | None:
    with _explained(), one_job():
        check_kinds(config, sys.argv[1:])
        # torch and Lightning take seconds to load; `--help` and `--cfg job` do without.
        from lightning_centernet.cli.jobs import run  # noqa: PLC0415

        return run(config)


@contextmanager
def _explained() -> Iterator[None]:
    """Leave the program with an explanation in place of a traceback, where the mistake is the user's."""
    try:
        yield
    except Exception as error:
        explanation = None if TRACEBACK_WANTED else explain(error, sys.argv[1:])
        if explanation is None:
            raise
        sys.stderr.write(f"{explanation.text}\n")
        sys.exit(explanation.exit_code)
