"""Measured PET: `python -m Testing.benchmarks.real_pet OUT`. Needs shared/data beside the checkout.

A whole-body FDG study from its DICOM folder (liver noise, tumour SUV before and after, the picture), and twenty FDG
crops around tumours. There is no truth here: what counts is that noise goes and the tumours' SUV stay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from skimage.draw import polygon2mask

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.evaluation.pictures import comparison_picture, write_picture
from PETDiffusionLib.methods.denoise import denoise
from PETDiffusionLib.volumes import Volume, read_volume, to_suv, write_volume
from Testing.benchmarks.bodies import SHARED_DATA

LIVER_RADIUS_MM = 20.0


def main() -> None:
    """Denoise, write the volumes and pictures into OUT, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="balanced")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    whole_body(arguments.out, arguments.preset)
    crops(arguments.preset)


def whole_body(out: Path, preset: str) -> None:
    """The study STS_001: factor, geometry, liver noise and tumour."""
    folder = SHARED_DATA / "wb_fdg_ge_STS_001"
    volume = to_suv(read_volume(folder / "PT"))
    print(f"SUV factor {volume.facts['suv_factor']:.6g}; {volume.image.GetSize()} voxels of {volume.voxel_size_mm} mm")
    result = denoise(volume.image, preset=preset)
    same = all(
        getattr(result.image, fact)() == getattr(volume.image, fact)()
        for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection")
    )
    print(f"geometry of the input, bit for bit: {same}")
    before, after = volume.array, sitk.GetArrayFromImage(result.image)
    tumour, liver = tumour_mask(folder / "RTSTRUCT.dcm", volume), liver_mask(volume)
    for name, region in (("liver", liver), ("tumour", tumour)):
        for when, array in (("before", before), ("after", after)):
            cov = 100 * metrics.background_variability(array, region)
            mean, peak, most = uptake(array, region, volume)
            print(f"{name:<7} {when:<7} SUVmean {mean:.3f}  SUVpeak {peak:.2f}  SUVmax {most:.2f}  COV {cov:.1f} %")
    write_volume(Volume(result.image, "suvbw"), out / "STS_001_denoised.nii.gz")
    picture = comparison_picture(result.image, low_dose=volume.image, uncertainty=result.uncertainty, title="STS_001")
    write_picture(picture, out / "STS_001.png")


def tumour_mask(path: Path, volume: Volume) -> np.ndarray:
    """The contours named GTV_Mass, filled slice by slice: boolean [z, y, x]."""
    structures = pydicom.dcmread(path)
    number = next(
        roi.ROINumber for roi in structures.StructureSetROISequence if str(roi.ROIName).lower().startswith("gtv_mass")
    )
    mask = np.zeros(volume.array.shape, bool)
    for roi in structures.ROIContourSequence:
        if roi.ReferencedROINumber != number:
            continue
        for contour in roi.ContourSequence:
            points = np.asarray(contour.ContourData, float).reshape(-1, 3)
            index = np.array([volume.image.TransformPhysicalPointToContinuousIndex(point) for point in points])
            plane = round(float(index[:, 2].mean()))
            mask[plane] |= polygon2mask(mask.shape[1:], index[:, [1, 0]])
    return mask


def liver_mask(volume: Volume) -> np.ndarray:
    """A sphere of 40 mm in the right liver of this patient, placed by eye."""
    z, y, x = np.indices(volume.array.shape)
    spacing = volume.voxel_size_mm
    centre = LIVER_CENTRE
    distance = ((x - centre[0]) * spacing[0]) ** 2 + ((y - centre[1]) * spacing[1]) ** 2
    return distance + ((z - centre[2]) * spacing[2]) ** 2 < LIVER_RADIUS_MM**2


def crops(preset: str) -> None:
    """The IBSI crops: what becomes of the tumour's SUVmean, SUVpeak and SUVmax, and how much the background smooths."""
    print("change in %: SUVmean  SUVpeak  SUVmax   noise outside the tumour, after / before")
    for folder in sorted((SHARED_DATA / "ibsi_sts_suv_crops").glob("STS_*")):
        volume = read_volume(folder / "PET_image.nii.gz", "suvbw")
        tumour = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "PET_mask.nii.gz"))) > 0
        before = volume.array
        after = sitk.GetArrayFromImage(denoise(volume.image, preset=preset).image)
        pairs = zip(uptake(before, tumour, volume), uptake(after, tumour, volume), strict=True)
        changes = [metrics.bias_percent(*pair) for pair in pairs]
        rest = ~tumour & (before > 0.3)
        share = _roughness(after, rest) / _roughness(before, rest)
        print(f"{folder.name:<12}" + "".join(f"{change:+9.1f}" for change in changes) + f"   {share:.2f}")


def uptake(array: np.ndarray, region: np.ndarray, volume: Volume) -> tuple[float, float, float]:
    """SUVmean, SUVpeak and SUVmax of a region of an array on the volume's grid."""
    peak = metrics.suv_peak(array, region, volume.voxel_size_mm)
    return metrics.suv_mean(array, region), peak, metrics.suv_max(array, region)


def _roughness(array: np.ndarray, region: np.ndarray) -> float:
    """The median jump to the next plane within a region: mostly noise."""
    both = region[1:] & region[:-1]
    return float(np.median(np.abs(array[1:] - array[:-1])[both]))


# Voxel indices (x, y, z) of the liver sphere's centre in STS_001.
LIVER_CENTRE = (49, 68, 150)

if __name__ == "__main__":
    main()
