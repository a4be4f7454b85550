"""The polynomials of the sigmoids, over all values that come to them, as they are written: not compiled."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from lightning_centernet.losses.sigmoids import limit, sigmoids_of_map


def test_right_but_for_a_few_millionths(monkeypatch):
    steps = torch.logspace(-8, 2, 10_001)
    values = limit(torch.cat([-steps.flip(0), torch.zeros(1), steps, torch.linspace(-10, 10, 100_001)]))
    exact = values.double()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    wrong, right, certainty = (each.double() for each in sigmoids_of_map(values))
    torch.testing.assert_close(wrong, torch.sigmoid(exact), rtol=3e-6, atol=0)
    torch.testing.assert_close(right, torch.sigmoid(-exact), rtol=3e-6, atol=0)
    torch.testing.assert_close(certainty, F.logsigmoid(-exact), rtol=3e-6, atol=0)
