"""Operators that make the host wait for a device, or a device for the host, counted where they are dispatched."""

from __future__ import annotations

import traceback
from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode


class Recorder(TorchDispatchMode):
    """Counts them, by name, and remembers who called: `recorder.callers` tells a test that fails where to look."""

    WAITING = (
        "_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_consecutive", "unique_dim",
        "equal", "is_nonzero", "allclose", "lift_fresh", "bincount", "repeat_interleave", "_pin_memory",
    )  # fmt: skip

    def __init__(self):
        super().__init__()
        self.seen = Counter()
        self.callers = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, _, overload = func.name().removeprefix("aten::").partition(".")
        waits = name in self.WAITING and (name, overload) != ("repeat_interleave", "self_int")
        if waits or (name in ("index", "index_put_", "index_put") and self._masked(args)):
            self.seen[name] += 1
            self.callers.append((name, "".join(traceback.format_stack(limit=12)[:-1])))
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _masked(args):
        return any(index is not None and str(index.dtype) in ("torch.bool", "torch.uint8") for index in args[1])
