"""Probabilities of logits that are limited, and their logarithms."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Sigmoids: TypeAlias = tuple[Tensor, Tensor, Tensor]  # sigmoid(z), sigmoid(-z) and the logarithm of the latter


def limit(logits: Tensor) -> Tensor:
    """Clamp logits as the originals clamp probabilities."""
    # The originals clamp float32 probabilities to [1e-4, 1 - 1e-4]; in float32 the upper end is 0.99989998. These are
    # the logits of both. A number that has a name is no constant for a compiler, which would read it for each cell.
    return logits.clamp(-9.2102404, 9.2100744)


def sigmoids(values: Tensor) -> Sigmoids:
    """Return sigmoid(z), sigmoid(-z) and its logarithm, of z within the limits."""
    right = torch.sigmoid(-values)
    return torch.sigmoid(values), right, torch.log(right)


def sigmoids_of_map(values: Tensor) -> Sigmoids:
    """Return the same, in a form that is faster in a compiled loop."""
    if not torch.compiler.is_compiling() or values.dtype == torch.float64:
        return sigmoids(values)
    # Calls of exp and log interrupt the loop, which then waits for memory, and each step counts. Within the limits two
    # polynomials, through Chebyshev's points, are right but for 3e-6: e^-a is the 16th power of one, ln(1 + e) is e
    # times one.
    magnitude = values.abs()
    small = magnitude * 6.22405021e-11 - 7.69999271e-9
    for coefficient in (6.34267503e-7, -4.06852849e-5, 0.00195311766, -0.0624999958, 1.0):
        small = small * magnitude + coefficient
    for _ in range(4):
        small = small.square()
    near = 1 / (1 + small)
    series = small * 0.00837115255 - 0.0434938998
    for coefficient in (0.106850029, -0.176874767, 0.244747742, -0.332719284, 0.499971745, -0.999999781):
        series = series * small + coefficient
    far, positive = small * near, values >= 0
    wrong, right = torch.where(positive, near, far), torch.where(positive, far, near)
    return wrong, right, series * small - values.relu()
