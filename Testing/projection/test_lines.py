"""The line projector agrees with parallelproj 2, and its adjoint is its transpose, for any lines and any grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection import LineProjector, back_project, project
from PETDiffusionLib.sinograms import TimeOfFlight
from Testing.projection.laws import assert_adjoint, relative_difference

TOF = TimeOfFlight(bins=7, bin_width_mm=40.0, sigma_mm=25.0)


def random_lines(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(-150, 150, (*shape, 3)), rng.uniform(-150, 150, (*shape, 3))


@pytest.mark.parametrize("with_tof", [False, True])
def test_agrees_with_parallelproj_2(joseph_parity, with_tof) -> None:
    parity = joseph_parity
    tof = TimeOfFlight(int(parity["tof_bins"]), float(parity["tof_bin_width_mm"]), float(parity["tof_sigma_mm"]))
    prefix, tof = ("tof_", tof) if with_tof else ("", None)
    image = parity["image"].permute(2, 1, 0)  # the file's images are [x, y, z]
    grid = (image.shape, parity["image_origin_mm"], parity["voxel_size_mm"])
    projector = LineProjector(parity["lor_start_mm"], parity["lor_end_mm"], *grid, tof)
    assert relative_difference(projector.forward(image), parity[prefix + "forward"]) < 1e-5
    adjoint = projector.adjoint(parity[prefix + "data"])
    assert relative_difference(adjoint, parity[prefix + "adjoint"].permute(2, 1, 0)) < 1e-5


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(1, 30)] * 3),
    st.tuples(*[st.floats(-120, 120)] * 3),
    st.sampled_from([None, TOF]),
    st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_the_adjoint_is_the_transpose(image_shape, voxel_mm, origin_mm, tof, seed) -> None:
    lines = random_lines(np.random.default_rng(seed), (4, 5, 6))
    assert_adjoint(LineProjector(*lines, image_shape, origin_mm, voxel_mm, tof), seed)


def test_a_line_through_a_uniform_box_has_the_length_of_its_path() -> None:
    grid = ((10, 20, 30), (-29, -19, -9), (2, 2, 2))  # 60 x 40 x 20 mm around the origin
    start, end = (
        torch.tensor([[-100.0, 1, 0.5], [0, -100, 1], [-50, -50, 0]]),
        torch.tensor([[100.0, 1, 0.5], [0, 100, 1], [50, 50, 0]]),
    )
    lengths = LineProjector(start, end, *grid).forward(torch.ones(10, 20, 30))
    assert lengths.tolist() == pytest.approx([60, 40, 40 * 2**0.5], rel=1e-5)


def test_lines_that_miss_the_image_or_have_no_length_are_empty() -> None:
    start, end = (
        torch.tensor([[-100.0, 80, 0], [3, 3, 3], [-100, 0, 0]]),
        torch.tensor([[100.0, 80, 0], [3, 3, 3], [-50, 0, 0]]),
    )
    projector = LineProjector(start, end, (5, 20, 20), (-19, -19, -4), (2, 2, 2))
    assert projector.forward(torch.ones(5, 20, 20)).tolist() == [0, 0, 0]
    assert not projector.adjoint(torch.ones(3)).any()


def test_tof_bins_share_out_the_line_integral_and_grow_towards_the_end() -> None:
    wide = TimeOfFlight(bins=21, bin_width_mm=20.0, sigma_mm=15.0)
    start, end = torch.tensor([[-200.0, 0, 0]]), torch.tensor([[200.0, 0, 0]])
    grid = ((1, 1, 60), (-118, 0, 0), (4, 4, 4))
    image = torch.zeros(1, 1, 60)
    image[0, 0, 50] = 1  # at x = 82
    bins = LineProjector(start, end, *grid, wide).forward(image)[0]
    assert float(bins.sum()) == pytest.approx(float(LineProjector(start, end, *grid).forward(image)), rel=1e-5)
    centre = float((bins * (torch.arange(21) - 10) * 20).sum() / bins.sum())
    assert centre == pytest.approx(82, abs=0.5)


def test_subsets_are_the_views_of_the_whole() -> None:
    whole = LineProjector(*random_lines(np.random.default_rng(1), (3, 7, 4)), (6, 8, 9), (-40, -35, -25), (10, 10, 10))
    image = torch.rand(6, 8, 9)
    data, shared = whole.forward(image), whole.with_subsets(3)
    parts = [shared.subset(k) for k in range(3)]
    for part in parts:
        assert relative_difference(part.forward(image), data[:, part.views]) < 1e-5
    assert relative_difference(sum(p.adjoint(data[:, p.views]) for p in parts), whole.adjoint(data)) < 1e-5


def test_gradients_are_projections_on_both_sides() -> None:
    projector = LineProjector(
        *random_lines(np.random.default_rng(2), (3, 4, 5)), (5, 6, 7), (-30, -25, -20), (10, 10, 10)
    )
    image = torch.rand(5, 6, 7, requires_grad=True)
    data = project(projector, image)
    (gradient,) = torch.autograd.grad((data**2).sum() / 2, image, create_graph=True)
    assert torch.allclose(gradient, projector.adjoint(data.detach()))
    (again,) = torch.autograd.grad((gradient**2).sum() / 2, image)  # A^T A A^T A x: through the adjoint's gradient
    assert relative_difference(again, projector.adjoint(projector.forward(gradient.detach()))) < 1e-5
    assert torch.equal(back_project(projector, data.detach()), projector.adjoint(data.detach()))


def test_end_points_that_do_not_match_are_refused() -> None:
    with pytest.raises(PETDiffusionError, match="end points of one shape"):
        LineProjector(torch.zeros(4, 3), torch.zeros(5, 3), (2, 2, 2), (0, 0, 0), (1, 1, 1))
