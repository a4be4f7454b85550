"""The Python of docs/extending.md runs as written."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from lightning import Trainer

DOCS = Path(__file__).parent.parent / "docs"


def test_extending(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    # As a file, because a dataclass looks its own module up.
    names: dict[str, object] = {"__name__": __name__}
    for block in blocks:
        exec(compile(block, "extending.md", "exec"), names)
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
