"""The comparison picture: right side up whatever the file's axes are, true proportions, honest colours."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation import comparison_picture, write_picture
from PETDiffusionLib.evaluation.colours import BLUE_WHITE_RED, INVERTED_GREY, MAGMA, ColourScale, round_limit
from PETDiffusionLib.evaluation.pictures import FRAME, _slicers

SPOT = (28, 7, 34)  # x, y, z: on the patient's left, in front, and high up


def patient(shape=(40, 30, 36), spacing=(4.0, 4.0, 4.0)) -> sitk.Image:
    """A uniform body with one hot spot at SPOT; the file's axes point left, posterior and superior."""
    volume = np.zeros(shape, dtype=np.float32)
    volume[2:-2, 4:-4, 4:-4] = 1.0
    x, y, z = SPOT
    volume[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = 6.0
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(spacing)
    return image


def panels(picture: Image.Image) -> list[tuple[int, int, int, int]]:
    """The panels as (left, top, right, bottom), inside their frames, row by row from the left."""
    pixels = np.asarray(picture)
    frame = (pixels == np.array(FRAME)).all(axis=-1)
    found = []
    top = 0
    while top < picture.height:
        edges = np.flatnonzero(frame[top])
        runs = np.split(edges, np.flatnonzero(np.diff(edges) > 1) + 1) if edges.size else []
        runs = [(int(run[0]), int(run[-1])) for run in runs if len(run) > 40]
        if not runs:
            top += 1
            continue
        bottoms = [next(y for y in range(top + 1, picture.height) if frame[y, left + 40]) for left, _ in runs]
        found += [(left + 1, top + 1, right, low) for (left, right), low in zip(runs, bottoms, strict=True)]
        top = max(bottoms) + 1
    return found


def darkest(picture: Image.Image, panel: tuple[int, int, int, int]) -> tuple[float, float]:
    """Where the darkest spot of a panel is, as shares of its width and height from the top left."""
    grey = np.asarray(picture.crop(panel).convert("L")).astype(float)
    rows, columns = np.nonzero(grey <= grey.min() + 2)
    return columns.mean() / grey.shape[1], rows.mean() / grey.shape[0]


def test_superior_and_anterior_are_up_and_the_patients_left_is_on_the_right() -> None:
    volume = patient()
    picture = comparison_picture(volume, position_mm=volume.TransformIndexToPhysicalPoint(SPOT))
    axial, coronal, sagittal, projection = (darkest(picture, panel) for panel in panels(picture)[:4])
    for across, down in (axial, coronal, projection):
        assert across > 0.65 and down < 0.35
    assert sagittal[0] < 0.35 and sagittal[1] < 0.35  # anterior is on the left there


def test_a_plane_away_from_a_spot_does_not_show_it_and_the_projection_does() -> None:
    volume = patient()
    picture = comparison_picture(volume, position_mm=volume.TransformIndexToPhysicalPoint((12, 20, 12)))
    blackest = [np.asarray(picture.crop(panel).convert("L")).min() for panel in panels(picture)[:4]]
    assert min(blackest[:3]) > 90
    assert blackest[3] < 10


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "ASL", "SPR", "PIR"])
def test_the_picture_does_not_depend_on_the_files_axes(orientation) -> None:
    volume = patient(spacing=(3.0, 4.0, 5.0))
    low = volume + 0.1
    expected = comparison_picture(volume, low_dose=low)
    found = comparison_picture(sitk.DICOMOrient(volume, orientation), low_dose=sitk.DICOMOrient(low, orientation))
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((130, 72, 48), (6.6, 6.6, 6.6)), ((60, 90, 75), (2.5, 2.5, 3.0)), ((59, 43, 41), (4.69, 4.69, 3.27))],
)
def test_panels_have_the_bodys_true_proportions(shape, spacing) -> None:
    image = sitk.GetImageFromArray(np.ones(shape, dtype=np.float32))
    image.SetSpacing(spacing)
    found = panels(comparison_picture(image))
    x_mm, y_mm, z_mm = (count * size for count, size in zip(reversed(shape), spacing, strict=True))
    expected = [(x_mm, y_mm), (x_mm, z_mm), (y_mm, z_mm), (x_mm, z_mm)]
    scales = []
    for (left, top, right, bottom), (across, down) in zip(found[:4], expected, strict=True):
        assert (right - left) / (bottom - top) == pytest.approx(across / down, rel=0.02)
        scales.append((right - left) / across)
    assert max(scales) == pytest.approx(min(scales), rel=0.02)


@pytest.mark.parametrize(
    ("given", "columns"),
    [((), 1), (("low_dose",), 3), (("reference",), 3), (("low_dose", "reference", "uncertainty"), 5)],
)
def test_there_is_a_column_for_each_volume_and_one_for_the_difference(given, columns) -> None:
    volume = patient()
    picture = comparison_picture(volume, **dict.fromkeys(given, volume + 0.2))
    bars = 1 + (columns > 1) + ("uncertainty" in given)
    assert len(panels(picture)) == 4 * columns + bars


def test_the_difference_is_red_where_the_image_is_too_hot_and_blue_where_it_is_too_cold() -> None:
    reference = patient()
    for change, hotter in ((1.0, True), (-0.5, False)):
        shifted = sitk.Cast(reference > 0.5, sitk.sitkFloat32) * change + reference
        picture = comparison_picture(shifted, reference=reference)
        left, top, right, bottom = panels(picture)[2]
        red, _, blue = picture.getpixel(((left + right) // 2, (top + bottom) // 2))
        assert (red > blue) == hotter


def test_slices_go_through_the_activity_and_a_projection_keeps_the_hottest() -> None:
    volume = np.zeros((5, 6, 7))
    volume[3, 4, 2] = 9.0
    axial, coronal, sagittal, projection = (plane(volume) for plane in _slicers((3, 4, 2)))
    assert axial[4, 2] == coronal[1, 2] == sagittal[1, 4] == projection[1, 2] == 9.0
    for plane in _slicers((0, 0, 0))[:3]:
        assert plane(volume).max() == 0


def test_other_grids_and_positions_outside_are_refused() -> None:
    volume = patient()
    with pytest.raises(PETDiffusionError, match="grid of the image"):
        comparison_picture(volume, reference=patient(spacing=(4.0, 4.0, 5.0)))
    with pytest.raises(PETDiffusionError) as caught:
        comparison_picture(volume, position_mm=(-50.0, 0.0, 0.0))
    assert caught.value.code == "outside"


def test_a_picture_is_written_whole_or_not_at_all(tmp_path) -> None:
    picture = comparison_picture(patient())
    write_picture(picture, tmp_path / "look.png")
    with Image.open(tmp_path / "look.png") as read:
        assert np.array_equal(np.asarray(read), np.asarray(picture))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError):
        write_picture(picture, tmp_path / "taken.png")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["look.png", "taken.png"]


def test_colour_scales_are_monotone_where_the_eye_expects_it() -> None:
    ramp = np.linspace(0, 1, 256)
    weights = np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(ColourScale(INVERTED_GREY, 0, 1, "").rgb(ramp).astype(float) @ weights) < 0).all()
    assert (np.diff(ColourScale(MAGMA, 0, 1, "").rgb(ramp).astype(float) @ weights) > -0.5).all()
    diverging = ColourScale(BLUE_WHITE_RED, -2, 2, "")
    assert diverging.rgb(np.array(0.0)).min() > 250
    assert np.array_equal(diverging.rgb(np.array([-9.0, 9.0])), diverging.rgb(np.array([-2.0, 2.0])))


@pytest.mark.parametrize(("low", "high", "ticks"), [(0, 6, [0, 2, 4, 6]), (-3, 3, [-3, -2, -1, 0, 1, 2, 3])])
def test_ticks_are_round_and_hold_zero(low, high, ticks) -> None:
    assert ColourScale(INVERTED_GREY, low, high, "").ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(("value", "limit"), [(0.31, 0.4), (1.0, 1.0), (1.2, 1.5), (8.4, 10.0), (0.052, 0.06)])
def test_limits_are_rounded_up(value, limit) -> None:
    assert round_limit(value) == pytest.approx(limit)
