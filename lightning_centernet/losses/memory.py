"""Memory for whole maps on the host."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LARGE = 2**22  # bytes, from which on numpy asks the system for huge pages


def empty_like(values: Tensor) -> Tensor:
    """Make a tensor of the same shape, type and layout, with anything in it.

    On the host a large one lies in huge pages where the system has them. torch's own memory comes in small pages, and
    getting those takes longer than computing what is written to them.
    """
    if values.device.type != "cpu" or values.nbytes < LARGE:
        return torch.empty_like(values)
    stride = torch.empty_like(values, device="meta").stride()
    memory = torch.from_numpy(np.empty(values.nbytes, dtype=np.uint8))
    return memory.view(values.dtype).as_strided(values.shape, stride)
