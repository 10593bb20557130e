"""The ROIs of an RT Structure Set are the voxels that a physicist means by them, and what cannot be is said."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation.contours import polygon_mask
from PETDiffusionLib.evaluation.grids import patient_image
from PETDiffusionLib.evaluation.regions import dicom_regions, is_dicom_regions
from PETDiffusionLib.volumes import read_volume
from PETDiffusionLib.volumes.dicom_files import frame_of_reference
from Testing.evaluation.dicom_regions import ROOM, box, circle, write_structure_set

SPACING, ORIGIN, SIZE = (2.0, 2.0, 3.0), (-39.0, -37.0, -30.0), (40, 38, 21)
VOXEL_ML = 0.012


@pytest.fixture
def image() -> sitk.Image:
    image = sitk.Image(SIZE, sitk.sitkFloat32)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    return image


def whole(region, image) -> np.ndarray:
    """The region's mask over all of the image [z, y, x]."""
    mask = np.zeros(patient_image(image).GetSize()[::-1], bool)
    if region.box is not None:
        mask[region.box] = region.mask
    return mask


def only_region(path, image, room=ROOM):
    (region,) = dicom_regions(path, image, room)
    return region, whole(region, image)


def spanning(points_of, low=-15.0, high=15.0, step=3.0):
    """Contours on the planes from low to high."""
    return [points_of(z) for z in np.arange(low, high + 0.1, step)]


def test_a_cylinder_fills_the_voxels_whose_centres_it_encloses(tmp_path, image) -> None:
    path = write_structure_set(tmp_path / "s.dcm", [("GTV", spanning(lambda z: circle(14, z)))])
    region, mask = only_region(path, image)
    x = np.array(ORIGIN[0]) + 2.0 * np.arange(40)
    y = np.array(ORIGIN[1]) + 2.0 * np.arange(38)
    assert (region.number, region.name, region.notes) == (1, "GTV", ())
    assert np.array_equal(mask[5:16], np.broadcast_to(np.hypot(x, y[:, None]) < 14, (11, 38, 40)))
    assert not mask[:5].any() and not mask[16:].any()


@given(st.integers(3, 40), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_polygons_are_filled_as_scikit_image_fills_them(corners, seed) -> None:
    points = np.random.default_rng(seed).uniform(-4, 24, (corners, 2))
    assert np.array_equal(polygon_mask(points, (19, 21)), polygon2mask((19, 21), points[:, ::-1]))


@pytest.mark.parametrize("points", [box((2, 3), (7, 6), 0)[:, :2], box((2, 3), (7, 6), 0)[::-1, :2]])
def test_centres_on_a_contour_are_enclosed(points) -> None:
    expected = np.zeros((9, 9), bool)
    expected[3:7, 2:8] = True
    assert np.array_equal(polygon_mask(points, (9, 9)), expected)


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_contour_in_another_is_a_hole_and_one_in_the_hole_an_island(tmp_path, image, kind) -> None:
    rings = [circle(radius, z) for z in np.arange(-15, 15.1, 3) for radius in (10, 30, 3)]
    _, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("rings", rings)], kind=kind), image)
    profile = mask[10, 18]  # y = -1
    x = ORIGIN[0] + 2.0 * np.arange(40)
    radius = np.hypot(x, -1)
    assert np.array_equal(profile, ((radius < 30) & (radius > 10)) | (radius < 3))


def test_a_keyhole_contour_has_its_hole(tmp_path, image) -> None:
    def keyhole(z):
        outer, inner = circle(30, z), circle(10, z)[::-1]
        return np.concatenate([outer, outer[:1], inner[-1:], inner])

    region, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("ring", spanning(keyhole))]), image)
    assert not mask[10, 18, 19] and mask[10, 18, 30]
    assert np.count_nonzero(mask) * VOXEL_ML == pytest.approx(np.pi * (30**2 - 10**2) * 33 / 1000, rel=0.02)
    assert region.notes == ()


def test_contours_apart_in_a_plane_are_united_and_a_repeated_one_counts_once(tmp_path, image) -> None:
    pair = [circle(6, z, centre) for z in (0.0, 3.0) for centre in ((-15, 0), (15, 0), (15, 0))]
    region, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("two", pair)]), image)
    assert mask[10, 18, 12] and mask[10, 18, 27] and not mask[10, 18, 19]
    assert region.notes == ("holds the same contour more than once, which counts once",)


def test_crossing_contours_are_united_and_said(tmp_path, image) -> None:
    pair = [circle(14, z, centre) for z in (0.0, 3.0) for centre in ((-10, 0), (10, 0))]
    region, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("two", pair)]), image)
    assert mask[10, 18, 19]
    assert any("contours that cross" in note for note in region.notes)


@pytest.mark.parametrize("step", [1.0, 1.25, 3.0, 4.5, 6.0])
def test_planes_finer_or_coarser_than_the_slices_enclose_the_same_volume(tmp_path, image, step) -> None:
    contours = spanning(lambda z: circle(20, z), -18 + step / 2, 18 - step / 2 + 0.01, step)
    region, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("rod", contours)]), image)
    assert np.count_nonzero(mask) * VOXEL_ML == pytest.approx(np.pi * 400 * 36 / 1000, rel=0.09)  # a slice of 12
    slices = mask.any(axis=(1, 2))
    assert slices[5:16].all()
    assert region.notes == ()


def test_contours_half_way_between_the_slices_fill_as_many_slices(tmp_path, image) -> None:
    contours = spanning(lambda z: circle(20, z), -13.5, 13.5)
    _, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("rod", contours)]), image)
    assert mask.any(axis=(1, 2)).sum() == 10


def test_a_gap_between_planes_stays_empty_and_is_said(tmp_path, image) -> None:
    contours = [circle(14, z) for z in (-12.0, -9.0, -6.0, 6.0, 9.0)]
    region, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("two parts", contours)]), image)
    assert list(np.flatnonzero(mask.any(axis=(1, 2)))) == [6, 7, 8, 12, 13]
    assert region.notes == ("has no contours on 3 planes between others; nothing was filled in there",)


@pytest.mark.parametrize("order", ["LPS", "RAI", "SPL", "ALS"])
def test_the_order_of_the_images_axes_changes_nothing(tmp_path, image, order) -> None:
    path = write_structure_set(tmp_path / "s.dcm", [("GTV", spanning(lambda z: circle(14, z, (5, -8))))])
    _, expected = only_region(path, image)
    _, mask = only_region(path, sitk.DICOMOrient(image, order))
    assert np.array_equal(mask, expected)


def turned(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return points @ axes.T


@pytest.mark.parametrize("same_tilt", [True, False], ids=["contours on the slices", "contours across them"])
def test_oblique_images_and_contours_meet_in_space(tmp_path, image, same_tilt) -> None:
    axes = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.4).GetMatrix(), (3, 3))
    image.SetDirection(axes.ravel())
    image.SetOrigin(axes @ ORIGIN)
    contours = spanning(lambda z: turned(circle(14, z), axes if same_tilt else np.eye(3)))
    region, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("rod", contours)]), image)
    assert np.count_nonzero(mask) * VOXEL_ML == pytest.approx(np.pi * 196 * 33 / 1000, rel=0.02)
    z, y, x = np.nonzero(mask)
    centre = image.TransformContinuousIndexToPhysicalPoint([float(np.mean(i)) for i in (x, y, z)])
    assert centre == pytest.approx((0, 0, 0), abs=0.3)
    assert region.notes == ()


def test_sagittal_contours_are_filled_along_their_own_axis(tmp_path, image) -> None:
    contours = [circle(14, z)[:, [2, 0, 1]] for z in np.arange(-15, 15.1, 2)]
    _, mask = only_region(write_structure_set(tmp_path / "s.dcm", [("rod", contours)]), image)
    assert np.count_nonzero(mask) * VOXEL_ML == pytest.approx(np.pi * 196 * 32 / 1000, rel=0.03)
    assert mask[10, 18, 13:27].all() and not mask[10, :5].any()


def test_names_given_twice_are_told_apart(tmp_path, image) -> None:
    rod = spanning(lambda z: circle(14, z))
    path = write_structure_set(tmp_path / "s.dcm", [("GTV", rod), ("GTV", rod), ("Liver", rod)])
    regions = list(dicom_regions(path, image, ROOM))
    assert [region.name for region in regions] == ["GTV (ROI 1)", "GTV (ROI 2)", "Liver"]
    assert regions[0].notes == ("shares its name with another ROI",)


def test_what_has_no_voxel_says_why(tmp_path, image) -> None:
    rois = [
        ("empty", []),
        ("points", [np.array([[0.0, 0.0, 0.0]])]),
        ("far", spanning(lambda z: circle(5, z, (500, 0)))),
        ("beyond", spanning(lambda z: circle(14, z, (40, 0)))),
        ("speck", [circle(0.5, 0.0, (0.0, 0.0))]),
        ("crooked", [circle(14, 0.0), turned(circle(10, 3.0), np.eye(3)[[0, 2, 1]])]),
    ]
    empty, points, far, beyond, speck, crooked = dicom_regions(write_structure_set(tmp_path / "s", rois), image, ROOM)
    assert [region.box is None for region in (empty, points, far, beyond, speck, crooked)] == [1, 1, 1, 0, 1, 1]
    assert empty.notes == ("was left out: it has no closed contour",)
    assert points.notes == ("was left out: it has no closed contour",)
    assert far.notes == ("lies outside the image",)
    assert beyond.notes == ("reaches beyond the image; only the part inside it counts",)
    assert speck.notes == ("is smaller than a voxel: 0.0024 ml in voxels of 0.012 ml",)
    assert crooked.notes == ("was left out: its contours do not lie in parallel planes",)


def test_another_frame_of_reference_is_refused_by_name(tmp_path, image) -> None:
    path = write_structure_set(tmp_path / "s.dcm", [("GTV", spanning(lambda z: circle(14, z)))], room="1.2.3.4")
    with pytest.raises(PETDiffusionError, match=rf"'s.dcm' lies in the frame of reference 1.2.3.4 and .* {ROOM}"):
        dicom_regions(path, image, ROOM)


def test_an_unknown_frame_of_reference_is_said(tmp_path, image) -> None:
    path = write_structure_set(tmp_path / "s.dcm", [("GTV", spanning(lambda z: circle(14, z)))])
    region, mask = only_region(path, image, room=None)
    assert mask.any()
    assert "placed by its coordinates alone" in region.notes[0]


def test_a_file_without_regions_is_refused(tmp_path, image) -> None:
    path = write_structure_set(tmp_path / "s.dcm", [])
    with pytest.raises(PETDiffusionError, match="holds no ROI"):
        dicom_regions(path, image, ROOM)


def test_the_measured_structure_set_has_the_voxels_that_plastimatch_gives_it(shared_data) -> None:
    folder = shared_data / "wb_fdg_ge_STS_001"
    image = read_volume(folder / "PT").image
    assert is_dicom_regions(folder / "RTSTRUCT.dcm") and not is_dicom_regions(folder / "PT")
    regions = dicom_regions(folder / "RTSTRUCT.dcm", image, frame_of_reference(folder / "PT"))
    found = {region.name: int(region.mask.sum()) for region in regions}
    # plastimatch 1.10.0: convert --input RTSTRUCT.dcm --fixed pet.nrrd --output-prefix masks
    assert found == {"GTV_Mass": 5095, "GTV_Edema": 8058}
