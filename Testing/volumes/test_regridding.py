"""A volume on another grid keeps its activity, its place and its uniformity, in any order of axes."""

from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.volumes.regridding import DDPM3D_SHAPE, DDPM3D_VOXEL_MM, Grid, cubic_grid, regridded
from PETDiffusionLib.volumes.volume import Volume

SPACINGS = st.tuples(*[st.floats(0.8, 5.0)] * 3)
VOXELS = st.floats(1.2, 6.0)
ORIENTATIONS = st.sampled_from(["LPS", "RAS", "LAI", "PSL", "SAR", "IRP", "AIL"])
SPHERE_MM, CENTRE_MM = 9.0, np.array([3.0, -7.0, 11.0])


def rotation(x: float, y: float, z: float) -> np.ndarray:
    return np.reshape(sitk.Euler3DTransform((0, 0, 0), x, y, z).GetMatrix(), (3, 3))


def make_volume(array, spacing_mm=(2.0, 3.0, 4.0), axes=None, origin_mm=(-31.5, -40.2, -25.1), order="LPS") -> Volume:
    image = sitk.GetImageFromArray(np.asarray(array, np.float32))
    image.SetSpacing(spacing_mm)
    image.SetOrigin(origin_mm)
    image.SetDirection((np.eye(3) if axes is None else axes).ravel())
    return Volume(sitk.DICOMOrient(image, order), "suvbw", {"source": "a test"})


def gaussian(image: sitk.Image) -> np.ndarray:
    """A blob of 9 mm sigma about a fixed place in the patient, [z, y, x] on the image's grid."""
    index = np.indices(image.GetSize(), float).reshape(3, -1)
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    points = axes @ index + np.array(image.GetOrigin())[:, None]
    squared = np.square(points - CENTRE_MM[:, None]).sum(axis=0)
    return np.exp(-squared / (2 * SPHERE_MM**2)).reshape(image.GetSize()).T


def blob(spacing_mm, axes=None, order="LPS", size=(34, 30, 28)) -> Volume:
    """The blob in a field of which it fills the middle."""
    axes = np.eye(3) if axes is None else axes
    middle = axes @ ((np.array(size) - 1) / 2 * np.array(spacing_mm))
    empty = make_volume(np.zeros(size[::-1]), spacing_mm, axes, CENTRE_MM + 1.3 - middle)
    return make_volume(gaussian(empty.image), spacing_mm, axes, empty.image.GetOrigin(), order)


def activity(volume: Volume) -> float:
    return float(volume.array.sum(dtype=np.float64) * np.prod(volume.voxel_size_mm))


@given(SPACINGS, VOXELS)
@settings(max_examples=12, deadline=None)
def test_activity_is_kept_inside_what_both_grids_cover(spacing_mm, voxel_mm) -> None:
    noise = np.pad(np.random.default_rng(0).random((14, 12, 13)), 7)
    for array, within in ((noise, 3e-3), (gaussian_filter(noise, 1.0), 5e-4)):  # one voxel sharp, and as sharp as PET
        volume = make_volume(array, spacing_mm)
        cubic = regridded(volume, cubic_grid(volume.image, voxel_mm))
        assert activity(cubic) == pytest.approx(activity(volume), rel=within)
        assert all("stick out of the volume" in sentence for sentence in cubic.warnings)


@given(SPACINGS, VOXELS, ORIENTATIONS)
@settings(max_examples=12, deadline=None)
def test_a_uniform_volume_stays_uniform_and_keeps_its_activity_to_the_edges(spacing_mm, voxel_mm, order) -> None:
    volume = make_volume(np.full((9, 10, 11), 2.5), spacing_mm, rotation(0.1, -0.2, 0.05), order=order)
    cubic = regridded(volume, cubic_grid(volume.image, voxel_mm))
    assert cubic.array[1:-1, 1:-1, 1:-1] == pytest.approx(2.5, rel=1e-5)
    assert cubic.array.max() <= 2.5 * (1 + 1e-5)
    assert activity(cubic) == pytest.approx(
        activity(volume), rel=3e-5
    )  # a grid may be a millionth of a voxel too short
    sticks_out = activity(cubic) < 2.5 * cubic.array.size * voxel_mm**3 * (1 - 1e-4)
    assert any("stick out of the volume" in sentence for sentence in cubic.warnings) == sticks_out


@given(SPACINGS, st.floats(0.8, 2.0), ORIENTATIONS)
@settings(max_examples=8, deadline=None)
def test_there_and_back_gives_the_volume(spacing_mm, voxel_mm, order) -> None:
    block = np.pad(np.ones((12, 13, 14)), 8)  # air all about, as the outermost voxels stick out of the volume
    volume = make_volume(gaussian_filter(block, 2.0), spacing_mm, order=order)
    cubic = regridded(volume, cubic_grid(volume.image, voxel_mm))
    back = regridded(cubic, Grid.of(volume.image))
    assert Grid.of(back.image) == Grid.of(volume.image)
    assert np.abs(back.array - volume.array).max() < 0.04
    assert back.warnings == []


@given(VOXELS, st.sampled_from([None, (20, 31, 26)]))
@settings(max_examples=5, deadline=None)
def test_the_order_of_the_axes_in_the_file_changes_nothing(voxel_mm, shape) -> None:
    axes = rotation(0.2, 0.1, -0.15)
    volumes = [blob((2.0, 3.0, 4.0), axes, order) for order in ("LPS", "RAS", "SAR", "PIL")]
    first, *others = (regridded(volume, cubic_grid(volume.image, voxel_mm, shape)) for volume in volumes)
    for other in others:
        assert np.array_equal(other.array, first.array)
        assert Grid.of(other.image).origin_mm == pytest.approx(Grid.of(first.image).origin_mm, abs=1e-6)


@pytest.mark.parametrize("axes", [np.eye(3), rotation(0.2, 0.3, -0.4)], ids=["straight", "oblique"])
@pytest.mark.parametrize("shape", [None, (40, 21, 33)], ids=["covering", "shaped"])
def test_the_cubic_grid_has_the_centre_and_the_axes_of_the_volume(axes, shape) -> None:
    volume = blob((2.1, 3.3, 4.7), axes, "SAR")
    grid = cubic_grid(volume.image, 1.65, shape)
    assert grid.spacing_mm == (1.65, 1.65, 1.65)
    middle = np.array(grid.origin_mm) + grid.axes @ ((np.array(grid.size) - 1) / 2 * 1.65)
    half = [(count - 1) / 2 for count in volume.image.GetSize()]
    assert middle == pytest.approx(volume.image.TransformContinuousIndexToPhysicalPoint(half), abs=1e-6)
    assert grid.axes == pytest.approx(axes, abs=1e-9)
    if shape is None:
        fields = (34 * 2.1, 30 * 3.3, 28 * 4.7)
        assert all(0 <= side - field < 1.65 for side, field in zip(grid.extent_mm, fields, strict=True))
    else:
        assert grid.size == shape


@pytest.mark.parametrize("axes", [np.eye(3), rotation(0.2, 0.3, -0.4)], ids=["straight", "oblique"])
@pytest.mark.parametrize("voxel_mm", [1.65, 3.9, 5.5])
def test_a_smooth_object_lies_where_it_lay(axes, voxel_mm) -> None:
    volume = blob((2.1, 3.3, 2.7), axes, "SAR")
    cubic = regridded(volume, cubic_grid(volume.image, voxel_mm))
    # Averaged over larger voxels, the blob is wider by a box's variance, 1/12 of its side squared, on each axis.
    finer = [max(0.0, voxel_mm**2 / 12) if voxel_mm > spacing else 0.0 for spacing in (2.1, 3.3, 2.7)]
    peak = np.prod([SPHERE_MM / np.sqrt(SPHERE_MM**2 + more) for more in finer])
    assert cubic.array.max() == pytest.approx(peak, abs=0.05)
    centre = np.average(points(cubic.image), axis=0, weights=cubic.array.ravel())
    assert centre == pytest.approx(CENTRE_MM, abs=0.02)


def points(image: sitk.Image) -> np.ndarray:
    """The centres of the voxels in patient coordinates, [voxels of z, y, x; 3]."""
    index = np.indices(image.GetSize()[::-1], float).reshape(3, -1)[::-1]
    grid = Grid.of(image)
    return (grid.axes @ (index * np.array(grid.spacing_mm)[:, None])).T + grid.origin_mm


def test_finer_voxels_hold_what_scipys_cubic_spline_reads_there() -> None:
    volume = make_volume(np.random.default_rng(1).random((12, 14, 16)), (2.0, 3.0, 4.0))
    cubic = regridded(volume, cubic_grid(volume.image, 1.65))
    index = (points(cubic.image) - volume.image.GetOrigin()) / volume.voxel_size_mm
    inside = np.clip(index, 0, np.array(volume.image.GetSize()) - 1)
    expected = map_coordinates(volume.array.astype(float), inside[:, ::-1].T, order=3, mode="mirror")
    inner = (slice(1, -1),) * 3  # the outermost voxels stick out of the volume
    assert cubic.array[inner] == pytest.approx(expected.reshape(cubic.array.shape)[inner], abs=1e-5)


@pytest.mark.parametrize("order", ["LPS", "RAI", "PSL"])
def test_larger_voxels_hold_the_mean_of_what_itks_spline_reads_in_them(order) -> None:
    volume = blob((2.0, 2.5, 3.0), order=order)
    cubic = regridded(volume, cubic_grid(volume.image, 5.0))
    fine = sitk.Resample(
        volume.image, [7 * n for n in cubic.image.GetSize()], sitk.Transform(), sitk.sitkBSpline,
        [o - 3 * 5.0 / 7 for o in cubic.image.GetOrigin()], [5.0 / 7] * 3, cubic.image.GetDirection(), 0.0,
    )  # fmt: skip
    means = sitk.GetArrayFromImage(sitk.BinShrink(fine, [7] * 3))
    assert cubic.array[1:-1, 1:-1, 1:-1] == pytest.approx(means[1:-1, 1:-1, 1:-1], abs=2e-3)


@pytest.mark.parametrize("spacing_mm", [(2.5, 2.5, 2.5), (7.0, 6.0, 8.0)], ids=["finer", "coarser"])
def test_a_reference_tilted_against_the_volume_gets_the_same_object(spacing_mm) -> None:
    volume = blob((3.0, 3.0, 4.0))
    reference = blob(spacing_mm, rotation(0.3, -0.2, 0.5), "SAR", size=(30, 31, 32))
    there = regridded(volume, Grid.of(reference.image))
    assert Grid.of(there.image) == Grid.of(reference.image)
    centre = np.average(points(there.image), axis=0, weights=there.array.ravel())
    assert centre == pytest.approx(CENTRE_MM, abs=0.05)
    if spacing_mm[0] > 3:
        assert activity(there) == pytest.approx(activity(volume), rel=0.01)
    else:
        assert there.array == pytest.approx(reference.array, abs=0.01)


def test_a_volume_moved_by_whole_new_voxels_gives_the_result_moved() -> None:
    volume = make_volume(np.random.default_rng(2).random((12, 13, 14)), (2.0, 3.0, 4.0))
    grid = cubic_grid(volume.image, 5.0)
    image = sitk.Image(volume.image)
    image.SetOrigin([o + step for o, step in zip(image.GetOrigin(), (5.0, -10.0, 15.0), strict=True)])
    moved = regridded(Volume(image, "suvbw"), grid).array
    still = regridded(volume, grid).array
    assert moved[3:, :-2, 1:] == pytest.approx(still[:-3, 2:, :-1], abs=1e-5)


@pytest.mark.parametrize("order", ["".join(p) for p in permutations("LPS")])
def test_cropping_and_padding_on_the_same_voxels_copies_values_to_the_bit(order) -> None:
    array = np.random.default_rng(3).random((10, 12, 14)).astype(np.float32)
    volume = make_volume(array, (2.0, 2.0, 2.0), order=order)
    result = regridded(volume, cubic_grid(volume.image, 2.0, (10, 16, 10))).array
    assert np.array_equal(result, np.pad(array[:, :, 2:-2], ((0, 0), (2, 2), (0, 0))))


def test_what_is_cut_and_what_has_no_data_is_said() -> None:
    array = np.zeros((20, 20, 20))
    array[10, 10, 10], array[10, 10, 1] = 3, 1
    volume = make_volume(array, (2.0, 2.0, 2.0))
    cut, empty = regridded(volume, cubic_grid(volume.image, 2.0, (10, 40, 20))).warnings
    assert cut == "25 % of the activity lies outside the new grid of 20 x 80 x 40 mm and was cut."
    assert empty == "50 % of the new grid lies outside the volume; it is 0 there."


@pytest.mark.parametrize("axes", [np.eye(3), rotation(0.2, 0.3, -0.4)], ids=["parallel", "tilted"])
def test_grids_apart_in_space_are_refused(axes) -> None:
    volume = blob((2.0, 2.0, 2.0))
    far = make_volume(np.ones((5, 5, 5)), axes=axes, origin_mm=(900, 0, 0))
    with pytest.raises(PETDiffusionError, match="do not overlap in space") as refusal:
        regridded(volume, Grid.of(far.image))
    assert refusal.value.code == "no-overlap"


def test_a_voxel_size_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(PETDiffusionError, match=r"Voxels of 0.001 mm would make .* Give larger ones"):
        cubic_grid(blob((2.0, 2.0, 2.0)).image, 0.001)


def test_the_grid_of_the_3d_ddpm_is_that_of_its_publication() -> None:
    volume = blob((2.0, 2.0, 2.0))
    grid = cubic_grid(volume.image, DDPM3D_VOXEL_MM, DDPM3D_SHAPE)
    assert (grid.size, grid.spacing_mm) == ((288, 192, 520), (1.65, 1.65, 1.65))
