"""The plane projector is Joseph's operator and its exact transpose."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.projection.planes import PlaneGeometry, PlaneProjector, subset_projectors


@given(
    st.integers(3, 24), st.floats(0.5, 6), st.integers(3, 30), st.floats(0.5, 6), st.integers(1, 12), st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_adjoint_is_the_transpose(size, voxel_mm, bins, bin_mm, views, seed) -> None:
    rng = np.random.default_rng(seed)
    projector = PlaneProjector(PlaneGeometry(size, voxel_mm, bins, bin_mm, views), np.arange(views))
    image = torch.from_numpy(rng.standard_normal((size * size, 3))).float()
    data = torch.from_numpy(rng.standard_normal((views * bins, 3))).float()
    left = float((projector.forward(image).double() * data).sum())
    right = float((image.double() * projector.adjoint(data)).sum())
    scale = float(projector.forward(image.abs()).norm() * data.norm())
    assert abs(left - right) <= 1e-5 * max(scale, 1e-6)


def test_a_disc_projects_to_its_chords() -> None:
    geometry = PlaneGeometry(128, 2.0, 128, 2.0, 24)
    axis = (np.arange(128) - 63.5) * 2.0
    disc = (np.hypot(axis[:, None], axis[None, :]) < 80).astype(np.float32).reshape(-1, 1)
    profiles = PlaneProjector(geometry, np.arange(24)).forward(torch.from_numpy(disc)).reshape(24, 128).numpy()
    chord = 2 * np.sqrt(np.maximum(80.0**2 - axis**2, 0))
    inner = np.abs(axis) < 70
    assert np.abs(profiles[:, inner] / chord[inner] - 1).max() < 0.06
    assert profiles.sum() * 2.0 / 24 == pytest.approx(np.pi * 80**2, rel=0.01)


def test_a_point_lands_where_the_geometry_says() -> None:
    geometry = PlaneGeometry(64, 2.0, 64, 2.0, 90)
    for row, column in ((10, 40), (50, 20), (30, 5), (45, 50)):
        image = torch.zeros(64, 64)
        image[row, column] = 1
        profiles = PlaneProjector(geometry, np.arange(90)).forward(image.reshape(-1, 1)).reshape(90, 64).numpy()
        x, y = (column - 31.5) * 2, (row - 31.5) * 2
        phi = np.pi * np.arange(90) / 90
        centre = profiles @ ((np.arange(64) - 31.5) * 2) / profiles.sum(axis=1)
        assert np.abs(centre - (x * np.cos(phi) + y * np.sin(phi))).max() < 1.0


def test_subsets_share_the_views_out() -> None:
    projectors = subset_projectors(PlaneGeometry(16, 2.0, 16, 2.0, 18), 6)
    assert sorted(np.concatenate([p.views for p in projectors])) == list(range(18))
