"""`petdiffusion convert` on other grids: what is written, said and refused."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from PETDiffusionLib.cli import main
from PETDiffusionLib.volumes import Volume, read_volume, write_volume


def pet(spacing=(3.0, 3.0, 4.0), size=(20, 18, 12), origin=(-30.0, -27.0, -24.0)) -> sitk.Image:
    """A warm block in the middle of air, as sharp as PET."""
    array = np.zeros(size[::-1], np.float32)
    array[3:-3, 5:-5, 5:-5] = 2 + np.indices(array[3:-3, 5:-5, 5:-5].shape).sum(axis=0) / 10
    image = sitk.GetImageFromArray(gaussian_filter(array, 1.0))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


@pytest.fixture
def convert(tmp_path, capsys):
    """convert(*options, unit="suvbw", image=pet()): the volume that is written of the image, and what is said."""

    def run(*options, unit="suvbw", image=None, fails=False):
        given, made = tmp_path / "in.nrrd", tmp_path / "out.nrrd"
        write_volume(Volume(image or pet(), unit), given)
        capsys.readouterr()
        status = main(["convert", str(given), str(made), "--overwrite", *map(str, options)])
        assert status == (2 if fails else 0)
        said = capsys.readouterr()
        return said.err if fails else (read_volume(made), said.err)

    return run


def test_cubic_voxels_keep_the_activity_and_the_centre(convert) -> None:
    volume, said = convert("--voxel-mm", 1.65)
    assert volume.image.GetSpacing() == (1.65, 1.65, 1.65)
    before, after = sitk.GetArrayFromImage(pet()).sum() * 36, volume.array.sum() * 1.65**3
    assert after == pytest.approx(before, rel=2e-3)
    assert "cut" not in said


def test_the_grid_of_the_3d_ddpm_is_one_option_away(convert) -> None:
    volume, _ = convert("--grid", "ddpm3d")
    assert (volume.image.GetSize(), volume.image.GetSpacing()) == ((288, 192, 520), (1.65, 1.65, 1.65))


def test_a_shape_crops_and_says_how_much(convert) -> None:
    volume, said = convert("--voxel-mm", 3, "--shape", 4, 18, 12)
    assert volume.image.GetSize() == (4, 18, 12)
    assert "of the activity lies outside the new grid of 12 x 54 x 36 mm and was cut." in said


def test_and_back_on_to_the_grid_of_a_reference_of_another_order(convert, tmp_path) -> None:
    reference = tmp_path / "reference.nrrd"
    write_volume(Volume(sitk.DICOMOrient(pet(), "SAR"), "suvbw"), reference)
    fine, _ = convert("--voxel-mm", 1.65)
    back, _ = convert("--like", reference, image=fine.image)
    expected = read_volume(reference)
    assert back.image.GetDirection() == expected.image.GetDirection()
    assert back.image.GetOrigin() == expected.image.GetOrigin()
    assert np.sqrt(np.mean((back.array - expected.array) ** 2)) < 0.01 * expected.array.max()


def test_bqml_becomes_suv_on_the_way_where_the_facts_are_there(convert) -> None:
    facts = ("--weight-kg", 70, "--dose-mbq", 70, "--minutes", 0)
    volume, _ = convert("--voxel-mm", 3, *facts, unit="bqml")
    assert volume.unit == "suvbw"
    assert volume.array.max() == pytest.approx(sitk.GetArrayFromImage(pet()).max() / 1000, rel=0.1)
    kept, said = convert("--voxel-mm", 3, unit="bqml")
    assert kept.unit == "bqml"
    assert "The values are not in SUV but stay as they are (bqml)." in said and "--weight-kg" in said


def test_what_cannot_be_is_refused(convert, tmp_path) -> None:
    assert "--shape counts voxels of a size that is given: add --voxel-mm." in convert("--shape", 4, 4, 4, fails=True)
    far = tmp_path / "far.nrrd"
    write_volume(Volume(pet(origin=(900, 0, 0)), "suvbw"), far)
    assert "do not overlap in space" in convert("--like", far, fails=True)
    convert("--voxel-mm", 3)
    assert "is an input and is not overwritten" in convert("--like", tmp_path / "out.nrrd", fails=True)
