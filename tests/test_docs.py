"""The Python of the docs runs as written, and what they list is what there is."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path

import torch
from lightning import Trainer

from lightning_centernet import standard_heads
from lightning_centernet.heads import STANDARD

OPEN = {"hm": 3, "hps": 34, "hm_hp": 17}  # channels of the heads whose number depends on the data
DOCS = Path(__file__).parent.parent / "docs"


def run_python(name):
    """Run the blocks of a page one after another; what they define."""
    # As a file, because a dataclass looks its own module up.
    names: dict[str, object] = {"__name__": __name__}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, name, "exec"), names)
    return names


def test_losses():
    names = run_python("losses.md")
    assert names["loss_stats"]["speed"].isfinite()


def test_losses_are_all_listed():
    page = (DOCS / "losses.md").read_text(encoding="utf-8")
    for name, head in standard_heads({name: OPEN.get(name) for name in STANDARD}).items():
        for loss, function in [item for kind in getattr(head, "kinds", ()) for item in kind.table.items()]:
            row = next(row for row in page.splitlines() if row.startswith("|") and f"`{loss}`" in row.split("|")[1])
            options = [p for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY and p.default]
            assert all(f"`{option.name}`" in row for option in options if option.default is not option.empty)
            assert "every regression" in row or f"`{name}`" in row


def test_extending(tmp_path):
    names = run_python("extending.md")
    names["test_my_head"]()
    assert set(names["heads"]) == {"hm", "wh", "reg", "certainty"}
    assert names["model"].stride == 4
    mine = names["Mine"](names["backbone"], {"hm": 1, "wh": 2, "reg": 2}, input_size=(96, 128))
    before = mine.network.stacks[0]["hm"][0].weight.detach().clone()
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=1, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(mine, names["data"])
    assert not torch.equal(before, mine.network.stacks[0]["hm"][0].weight)
    assert trainer.callback_metrics["train/objects"] == 8


def test_pictures():
    names = run_python("pictures.md")
    assert names["picture"].shape[1] > 1242 + 384  # side by side
    assert (names["scene"].draw(names["objects"]) != names["image"]).any()
