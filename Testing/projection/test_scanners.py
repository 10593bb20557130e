"""What makes a projector of a scanner right, for every back end that this Python has."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection import CylinderProjector, LineProjector, back_project, make_projector, project
from PETDiffusionLib.projection.compiled import installed
from PETDiffusionLib.sinograms import ScannerGeometry, TimeOfFlight, parallel_beam, segments_of_span
from Testing.projection.laws import assert_adjoint, relative_difference

SCANNER = ScannerGeometry("small", 110.0, 5, 64, 4.0, 32, 31, segments_of_span(5, 1, 3))
TIMED = replace(SCANNER, tof=TimeOfFlight(bins=9, bin_width_mm=30.0, sigma_mm=18.0))
FINE = replace(TIMED, crystals=192, tangential_bins=91)  # bins narrower than voxels
GRID = ((9, 40, 40), (3.0, 3.0, 2.0))
BACKENDS = ["cylinder", "lines", *(["parallelproj"] if installed() else [])]
IS_VERSION_1 = installed() is not None and installed().__name__ == "parallelproj"
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@st.composite
def scanners(draw) -> ScannerGeometry:
    rings, span = draw(st.integers(1, 5)), draw(st.sampled_from([1, 3]))
    assume(rings > span // 2)
    crystals = 2 * draw(st.integers(4, 20))
    return ScannerGeometry(
        "random",
        radius_mm=draw(st.floats(60, 300)),
        rings=rings,
        crystals=crystals,
        ring_spacing_mm=draw(st.floats(1, 8)),
        views=crystals // 2,
        tangential_bins=draw(st.integers(1, crystals // 2 - 1)),
        segments=segments_of_span(rings, span, draw(st.integers(span // 2, rings - 1))),
        view_offset_deg=draw(st.sampled_from([0.0, -4.4, 17.0])),
        tof=draw(st.sampled_from([None, TimeOfFlight(5, 40.0, 30.0)])),
    )


grids = st.tuples(st.integers(1, 20), st.integers(2, 18), st.integers(2, 18), st.sampled_from([1, 2, 4]))


def grid_of(scanner: ScannerGeometry, grid: tuple[int, int, int, int]) -> tuple:
    """Shape and voxel size: slices that may be fewer or more than the scanner's, some of them to a ring."""
    *shape, slices_a_ring = grid
    width = 1.3 * scanner.radius_mm / max(shape[1:])
    return tuple(shape), (width, width, scanner.ring_spacing_mm / slices_a_ring)


@each_backend
@given(scanners(), grids, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_adjoint_is_the_transpose(backend, scanner, grid, seed) -> None:
    # Version 1's own two sides cut TOF off differently for lines at exactly 45 degrees.
    assume(not (backend == "parallelproj" and IS_VERSION_1 and scanner.tof is not None))
    projector = make_projector(scanner, *grid_of(scanner, grid), backend=backend)
    assert projector.data_shape == scanner.data_shape
    assert_adjoint(projector, seed)


# Odd offsets, other ones in x than in y: where a line (a diagonal one too) meets a voxel plane exactly at the image's
# face, that sample may count as inside for one and outside for the other.
offsets_x, offsets_y = st.sampled_from([-1.371, 0.137, 0.731]), st.sampled_from([-1.113, 0.293, 0.619])


@given(scanners(), grids, st.tuples(offsets_x, offsets_y, offsets_x))
@settings(max_examples=25, deadline=None)
def test_the_cylinder_agrees_with_line_by_line(scanner, grid, off_centre) -> None:
    shape, voxel_mm = grid_of(scanner, grid)
    origin = [(o - (n - 1) / 2) * v for o, n, v in zip(off_centre, shape[::-1], voxel_mm, strict=True)]
    pair = [make_projector(scanner, shape, voxel_mm, b, image_origin_mm=origin) for b in ("cylinder", "lines")]
    image, data = torch.rand(shape), torch.rand(scanner.data_shape)
    assert relative_difference(pair[0].forward(image), pair[1].forward(image)) < 1e-4
    assert relative_difference(pair[0].adjoint(data), pair[1].adjoint(data)) < 1e-4


@pytest.mark.parametrize("with_tof", [False, True])
def test_the_cylinder_agrees_with_parallelproj_2(joseph_parity, with_tof) -> None:
    parity = joseph_parity
    tof = TimeOfFlight(int(parity["tof_bins"]), float(parity["tof_bin_width_mm"]), float(parity["tof_sigma_mm"]))
    prefix, tof = ("tof_", tof) if with_tof else ("", None)
    start, end = parity["lor_start_mm"].numpy(), parity["lor_end_mm"].numpy()  # [view, tangential, plane, 3]
    image = parity["image"].permute(2, 1, 0)
    grid = (image.shape, parity["image_origin_mm"].numpy(), parity["voxel_size_mm"].numpy())
    lines = (start[:, :, 0, :2], end[:, :, 0, :2], start[0, 0, :, 2], end[0, 0, :, 2])
    projector = CylinderProjector(*lines, *grid, tof)
    expected = parity[prefix + "forward"].movedim(2, 0)
    assert relative_difference(projector.forward(image), expected) < 1e-5
    adjoint = projector.adjoint(parity[prefix + "data"].movedim(2, 0))
    assert relative_difference(adjoint, parity[prefix + "adjoint"].permute(2, 1, 0)) < 1e-5


@each_backend
def test_projection_is_linear(backend) -> None:
    projector = make_projector(SCANNER, *GRID, backend=backend)
    one, other = torch.rand(GRID[0]), torch.rand(GRID[0])
    expected = 3 * projector.forward(one) - projector.forward(other)
    assert relative_difference(projector.forward(3 * one - other), expected) < 1e-5


@each_backend
@pytest.mark.parametrize(("octant", "ring"), [(octant, (2 * octant) % 5) for octant in range(8)])
def test_a_point_lands_where_the_geometry_says(backend, octant, ring) -> None:
    """In the direct plane of its ring, at s = x cos(phi) + y sin(phi); with TOF at its distance along the line."""
    angle = (octant + 0.4) * np.pi / 4
    column, row = round(19.5 + 10 * np.cos(angle)), round(19.5 + 10 * np.sin(angle))
    x, y = (column - 19.5) * 3, (row - 19.5) * 3
    image = torch.zeros(GRID[0])
    image[2 * ring, row, column] = 1
    data = make_projector(FINE, *GRID, backend=backend).forward(image)
    in_ring = np.isclose(FINE.plane_middle_mm, (ring - 2) * 4)
    direct = FINE.plane_tilt_mm == 0
    assert not data[direct & ~in_ring].any()
    seen = data[int(np.nonzero(direct & in_ring)[0][0])].double().numpy()  # [view, tangential, bin]
    cosine, sine = np.cos(FINE.view_angles), np.sin(FINE.view_angles)
    s = (seen.sum(2) * FINE.tangential_mm).sum(1) / seen.sum((1, 2))
    assert np.abs(s - (x * cosine + y * sine)).max() < 1
    along = (seen.sum(1) * (np.arange(9) - 4) * 30).sum(1) / seen.sum((1, 2))
    assert np.abs(along - (y * cosine - x * sine)).max() < 2


@each_backend
def test_every_view_sees_the_total_activity(backend) -> None:
    beam = parallel_beam(views=30, bins=60, bin_mm=2.0, planes=3)
    y, x = np.mgrid[:40, :40] - 19.5
    disc = torch.from_numpy(np.hypot(x, y) < 15).float().expand(3, 40, 40)
    data = make_projector(beam, (3, 40, 40), (2.5, 2.5, 2.0), backend=backend).forward(disc)
    per_view = data.sum(2) * 2.0  # over s: mm^2
    assert per_view.numpy() == pytest.approx(float(disc[0].sum()) * 2.5**2, rel=0.02)


@each_backend
def test_tof_bins_add_up_to_the_line_integral(backend) -> None:
    image = torch.rand(GRID[0])
    whole = make_projector(SCANNER, *GRID, backend=backend).forward(image)
    wide = replace(TIMED, tof=TimeOfFlight(21, 30.0, 18.0))
    cut_off = 2e-3 if backend == "parallelproj" and IS_VERSION_1 else 1e-5  # version 1 does not make up for the tails
    assert relative_difference(make_projector(wide, *GRID, backend=backend).forward(image).sum(-1), whole) < cut_off


@each_backend
@pytest.mark.parametrize("scanner", [SCANNER, TIMED])
def test_subsets_are_the_views_of_the_whole(backend, scanner) -> None:
    whole = make_projector(scanner, *GRID, backend=backend)
    image = torch.rand(GRID[0])
    data, shared = whole.forward(image), whole.with_subsets(5)
    parts = [shared.subset(k) for k in range(5)]
    assert sorted(torch.cat([part.views for part in parts]).tolist()) == list(range(32))
    for part in parts:
        assert relative_difference(part.forward(image), data[:, part.views]) < 1e-5
    assert relative_difference(sum(p.adjoint(data[:, p.views]) for p in parts), whole.adjoint(data)) < 1e-5
    with pytest.raises(IndexError):
        shared.subset(5)


@each_backend
def test_gradients_are_projections_on_both_sides(backend) -> None:
    projector = make_projector(SCANNER, *GRID, backend=backend)
    image = torch.rand(GRID[0], requires_grad=True)
    (gradient,) = torch.autograd.grad((project(projector, image) ** 2).sum() / 2, image, create_graph=True)
    assert relative_difference(gradient.detach(), projector.adjoint(projector.forward(image.detach()))) < 1e-5
    (again,) = torch.autograd.grad((gradient**2).sum() / 2, image)  # through the adjoint's own gradient
    assert relative_difference(again, projector.adjoint(projector.forward(gradient.detach()))) < 1e-5
    data = torch.rand(projector.data_shape, requires_grad=True)
    (gradient,) = torch.autograd.grad((back_project(projector, data) * image.detach()).sum(), data)
    assert relative_difference(gradient, projector.forward(image.detach())) < 1e-5


def test_without_mkl_scipy_multiplies(monkeypatch) -> None:
    image, data = torch.rand(GRID[0]), torch.rand(SCANNER.data_shape)
    expected = make_projector(SCANNER, *GRID)
    projections = (expected.forward(image), expected.adjoint(data))
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    by_scipy = make_projector(SCANNER, *GRID)
    assert relative_difference(by_scipy.forward(image), projections[0]) < 1e-5
    assert relative_difference(by_scipy.adjoint(data), projections[1]) < 1e-5


def test_the_choice_is_automatic_reported_and_forcible(caplog) -> None:
    caplog.set_level("INFO")
    assert isinstance(make_projector(SCANNER, *GRID), CylinderProjector)
    assert "projector: cylinder" in caplog.text
    assert type(make_projector(SCANNER, *GRID, backend="lines")) is LineProjector
    tube = ScannerGeometry("tube", 30.0, 20, 32, 5.0, 16, 9, segments_of_span(20, 1, 19))
    assert isinstance(make_projector(tube, (39, 10, 10), (2.5, 2.5, 2.5)), LineProjector)
    with pytest.raises(PETDiffusionError, match="along the axis"):
        make_projector(tube, (39, 10, 10), (2.5, 2.5, 2.5), backend="cylinder")
    with pytest.raises(PETDiffusionError, match='no projector "siddon"'):
        make_projector(SCANNER, *GRID, backend="siddon")


@pytest.mark.skipif(installed() is not None, reason="parallelproj is there")
def test_a_parallelproj_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(PETDiffusionError, match="conda-forge"):
        make_projector(SCANNER, *GRID, backend="parallelproj")


def small_cylinder() -> CylinderProjector:
    geometry = ScannerGeometry("small", 200.0, 8, 64, 6.0, 32, 24, segments_of_span(8, 3, 4))
    return make_projector(geometry, (15, 12, 12), (25.0, 25.0, 3.0), backend="cylinder")


def test_two_threads_may_use_one_projector() -> None:
    projector = small_cylinder()
    images = [torch.rand(projector.image_shape) for _ in range(40)]
    alone = [projector.adjoint(projector.forward(image)) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: projector.adjoint(projector.forward(image)), images))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_projector_that_served_in_inference_mode_serves_outside_of_it_too() -> None:
    projector = small_cylinder()
    image, data = torch.rand(projector.image_shape), torch.rand(projector.data_shape)
    with torch.inference_mode():
        inside = projector.forward(image), projector.adjoint(data)
    assert torch.equal(projector.forward(image), inside[0])
    assert torch.equal(projector.adjoint(data), inside[1])
