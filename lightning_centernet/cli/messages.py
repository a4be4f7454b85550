"""Silence what Lightning says that no user of this package can act on."""

from __future__ import annotations

import logging
import warnings

_IRRELEVANT = (
    ".*overridden `(on_after_batch_transfer|transfer_batch_to_device)`.*",  # the module's own is meant
    ".*training batches .* is smaller than the logging interval.*",  # LogEveryEpoch shortens it
    r".*self\.log\('(val|test)/.*sync_dist=True.*",  # the metrics are synchronised where they are computed
    ".*LeafSpec.*is deprecated.*",  # between Lightning and torch
    ".*does not have many workers.*",  # data.num_workers is the user's choice
    ".*Using `DistributedSampler` with the dataloaders.*",  # the metrics drop the images that it repeats
    ".*The dirpath has changed from.*",  # for last.ckpt, which has no score to lose
)


def quiet() -> None:
    """Print each message once, and leave out advertisements."""
    # Lightning's logger has a handler of its own, and hands messages on to Hydra's as well.
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_matters)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # compiling for a processor needs no CUDA
    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # its tables say what the metrics say
    for message in _IRRELEVANT:
        warnings.filterwarnings("ignore", message=message)


def _matters(record: logging.LogRecord) -> bool:
    return not any(word in record.getMessage() for word in ("Tip:", "TPU available"))
