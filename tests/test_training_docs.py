"""The Python of docs/training.md runs as written."""

from __future__ import annotations

from tests.test_docs import run_python


def test_training():
    names = run_python("training.md")
    logged = names["trainer"].callback_metrics
    assert {f"train/{name}" for name in ("tot", "hm", "wh", "hps", "log_variance/hps")} <= set(logged)
    assert names["trainer"].global_step == 4
