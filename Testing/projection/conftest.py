"""The parity fixtures of projectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.conftest import REPOSITORY


@pytest.fixture(scope="session")
def joseph_parity() -> dict[str, torch.Tensor]:
    """parallelproj 2's lines, image, projections and back projections; images are [x, y, z] there."""
    path = REPOSITORY.parent / "shared" / "parity" / "joseph_small.npz"
    if not path.is_file():
        pytest.skip("the folder shared/parity beside the checkout is not there")
    return {name: torch.from_numpy(array) for name, array in np.load(path).items()}
