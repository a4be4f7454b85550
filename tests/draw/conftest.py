import numpy as np
import pytest


@pytest.fixture(params=[(48, 64), (240, 320), (701, 1333)], ids=str)
def image(request):
    return np.random.default_rng(0).integers(0, 256, (*request.param, 3), dtype=np.uint8)
