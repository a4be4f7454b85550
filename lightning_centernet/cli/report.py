"""What a job says: short tables, printed by the first process only."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_centernet.cli.checkpoint import Transfer
from lightning_centernet.data.module import DetectionData
from lightning_centernet.module import CenterNet

_SHOWN = 8  # of a long list of names


@rank_zero_only
def show_start(config: DictConfig, data: DetectionData, model: CenterNet) -> None:
    """Say what is about to be trained on what."""
    height, width = config.data.input_size
    sizes = ", ".join(f"{len(data.dataset(split))} {split}" for split in ("train", "val") if split in data.sources)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    rows = {
        "images": f"{sizes}; as {height}x{width} (height x width), {config.data.batch_size} at a time",
        "classes": f"{len(data.classes)}: {_shortened(data.classes)}",
        "heads": ", ".join(f"{name} {head.channels}" for name, head in model.heads.items()),
        "parameters": f"{parameters / 1e6:.1f} million",
        "output": str(config.output_dir),
    }
    show_lines(rows)


@rank_zero_only
def show_transfer(transfer: Transfer, path: str) -> None:
    """Say which weights came from a file, and which did not."""
    shapes = [f"{name}: file {theirs}, model {ours}" for name, (theirs, ours) in transfer.skipped.items()]
    table = Table("weights", "tensors", "names", title=f"init_from={path}", title_justify="left")
    table.add_row("loaded", str(len(transfer.loaded)), _shortened(_modules(transfer.loaded)))
    table.add_row("skipped: another shape", str(len(shapes)), "\n".join(shapes))
    table.add_row("missing in the file", str(len(transfer.missing)), _shortened(_modules(transfer.missing)))
    table.add_row("unexpected in the file", str(len(transfer.unexpected)), _shortened(_modules(transfer.unexpected)))
    _print(table)


@rank_zero_only
def show_end(config: DictConfig, trainer: Trainer, next_commands: Mapping[str, Iterable[str]]) -> None:
    """Say where everything is, and what to do next: commands, with the words that they need besides the checkpoint."""
    folder, checkpoints = Path(config.output_dir), _checkpoints(trainer)
    found = {name: folder / name for name in ("drawings", "tensorboard", "csv") if (folder / name).is_dir()}
    if checkpoints or found:
        show_lines({name: str(_short(path)) for name, path in (checkpoints | found).items()})
        _print("Next:")
    for command, words in next_commands.items() if checkpoints else ():
        best = _short(next(iter(checkpoints.values())))
        _print(f"  python -m lightning_centernet {shlex.join([command, f'ckpt_path={best}', *words])}")
    if "tensorboard" in found:
        _print(f"  tensorboard --logdir {shlex.quote(str(_short(found['tensorboard'])))}")


@rank_zero_only
def show_metrics(metrics: Mapping[str, float], title: str, first: str) -> None:
    """Print metrics, one in a row, beginning with the one that matters most."""
    table = Table("metric", "value")
    for name in sorted(metrics, key=lambda name: name != first):
        table.add_row(name, f"{metrics[name]:.4f}")
    _print(title)
    _print(table)


@rank_zero_only
def show_lines(rows: Mapping[str, str]) -> None:
    """Print named facts, a line each."""
    for name, value in rows.items():
        _print(Text.assemble((f"{name:<{max(map(len, rows))}}  ", "bold"), value))


def _checkpoints(trainer: Trainer) -> dict[str, Path]:
    keepers = [keeper for keeper in trainer.checkpoint_callbacks if isinstance(keeper, ModelCheckpoint)]
    files = {f"{'best' if keeper.monitor else 'last'} checkpoint": keeper.best_model_path for keeper in keepers}
    return {name: Path(file) for name, file in files.items() if file}


def _modules(names: Iterable[str]) -> list[str]:
    """Name the modules that tensors belong to, four levels deep, instead of each tensor."""
    return list(dict.fromkeys(".".join(name.split(".")[:-1][:4]) or name for name in names))


def _shortened(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _print(message: Table | Text | str) -> None:
    """Print; lines are not cut, so that paths can be copied from a narrow terminal."""
    Console(highlight=False).print(message, markup=False, soft_wrap=not isinstance(message, Table))
