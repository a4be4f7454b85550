"""What makes the host wait for a device, or a device for the host: `callers` tells a test that fails where to look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.measure import Operators as Recorder
from lightning_centernet.geometry import gaussian, peaks, regions

__all__ = ["Recorder", "as_on_a_device"]


@contextmanager
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the forms that are for devices, and assert that nothing waits while they run."""
    monkeypatch.setattr(gaussian, "_paint", gaussian._merge)
    monkeypatch.setattr(regions, "_fill_each", regions._fill_all)
    monkeypatch.setattr(peaks, "_candidates_on_host", peaks._candidates_on_device)
    with Recorder() as recorder:
        yield
    waits = [caller for _, caller in recorder.callers if "in blank" not in caller]  # on the host it takes numpy's zeros
    assert not waits, waits[0]
