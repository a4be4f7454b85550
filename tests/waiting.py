"""What makes the host wait for a device, or a device for the host: `callers` tells a test that fails where to look."""

from __future__ import annotations

from benchmarks.measure import Operators as Recorder

__all__ = ["Recorder"]
