"""An image judged against its reference: a JSON-able dictionary, and the same as a table for people."""

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.evaluation.grids import patient_array, patient_image, require_same_grid
from PETDiffusionLib.evaluation.regions import Region, label_regions

CONVENTIONS = {
    "body": (
        f"inside the mask; PSNR peak and SSIM range {metrics.PEAK_SUV:g} SUV, values not clipped; SSIM 3D, uniform "
        f"window {metrics.SSIM_WINDOW_VOXELS} voxels, map averaged in the mask; NRMSE over the reference's RMS"
    ),
    "ddpm3d": (
        f"Yu et al. 2025: whole volume with air, clipped at {metrics.DDPM3D_RANGE_SUV:g} SUV, negatives zeroed; SSIM "
        f"range {metrics.DDPM3D_RANGE_SUV:g}; PSNR peak the unclipped reference's maximum"
    ),
    "suvpeak": f"highest mean in a sphere of {metrics.SUVPEAK_DIAMETER_MM:g} mm diameter centred in the region",
    "coverage_95": f"share of mask voxels with |reference - image| <= {metrics.INTERVAL_95_SIGMAS} uncertainty",
    "use": "research use only",
}
REGION_FIGURES = ("suvmean", "suvmax", "suvpeak")


def evaluate(
    reference: sitk.Image,
    image: sitk.Image,
    mask: sitk.Image | None = None,
    labels: sitk.Image | None = None,
    uncertainty: sitk.Image | None = None,
    label_names: Mapping[int, str] | None = None,
    regions: Iterable[Region] | None = None,
) -> dict[str, Any]:
    """Judge an image against its reference; both in SUV, all images on one grid.

    `mask` (non-zero voxels) replaces the automatic body mask, `labels` adds SUVmean, SUVmax and SUVpeak with their bias
    for each of its values above 0, `regions` the same for each of them, `uncertainty` (one standard deviation, SUV)
    adds its coverage and correlation with the error. The result holds only what JSON can hold: a figure that is
    infinite (PSNR of equal images) or undefined is None.
    Raises PETDiffusionError "grid-mismatch", "not-3d", "not-finite", "no-body", "empty-mask" or "too-small".
    """
    others = {"image": image, "mask": mask, "labels": labels, "uncertainty": uncertainty}
    for name, other in others.items():
        if other is not None:
            require_same_grid(reference, "reference", other, name)
    voxel_size_mm = patient_image(reference).GetSpacing()
    truth = patient_array(reference, "reference")
    estimate = patient_array(image, "image")
    body = metrics.body_mask(truth, voxel_size_mm) if mask is None else _given_mask(mask)

    report: dict[str, Any] = {
        "grid": {"size": list(reference.GetSize()), "voxel_size_mm": list(reference.GetSpacing())},
        "mask": "body" if mask is None else "given",
        "body": _body_figures(truth, estimate, body, voxel_size_mm),
        "ddpm3d": {
            "psnr_db": metrics.ddpm3d_psnr(truth, estimate),
            "ssim": metrics.ddpm3d_ssim(truth, estimate),
        },
    }
    if labels is not None:
        regions = chain(label_regions(labels, label_names or {}), regions or ())
    if regions is not None:
        report["labels"], report["warnings"] = _region_rows(truth, estimate, regions, voxel_size_mm)
    if uncertainty is not None:
        deviation = patient_array(uncertainty, "uncertainty")
        report["uncertainty"] = _uncertainty_figures(truth, estimate, deviation, body)
    report["conventions"] = dict(CONVENTIONS)
    return _json_able(report)


def _given_mask(mask: sitk.Image) -> np.ndarray:
    chosen = patient_array(mask, "mask") != 0
    if not chosen.any():
        raise PETDiffusionError("empty-mask", "The mask must have voxels other than 0; it has none.")
    return chosen


def _body_figures(
    truth: np.ndarray, estimate: np.ndarray, body: np.ndarray, voxel_size_mm: tuple[float, float, float]
) -> dict[str, Any]:
    return {
        "volume_ml": _volume_ml(body, voxel_size_mm),
        "psnr_db": metrics.psnr(truth, estimate, body),
        "ssim": metrics.ssim(truth, estimate, body),
        "nrmse": metrics.nrmse(truth, estimate, body),
        "suvmean": _compared(metrics.suv_mean(truth, body), metrics.suv_mean(estimate, body)),
        "suvmax": _compared(metrics.suv_max(truth, body), metrics.suv_max(estimate, body)),
    }


def _region_rows(
    truth: np.ndarray, estimate: np.ndarray, regions: Iterable[Region], voxel_size_mm: tuple[float, float, float]
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each region, and a sentence for whatever is unusual about them."""
    # Only the surroundings of a region are touched: a whole body has many regions and many more voxels.
    margin = math.ceil(metrics.SUVPEAK_DIAMETER_MM / min(voxel_size_mm))
    rows, notes = [], dict[str, list[str]]()
    for region in regions:
        row: dict[str, Any] = {"label": region.number, "name": region.name, "volume_ml": 0.0}
        if region.box is not None:
            around = tuple(slice(max(part.start - margin, 0), part.stop + margin) for part in region.box)
            inside = np.zeros(truth[around].shape, bool)
            begin = [part.start - start.start for part, start in zip(region.box, around, strict=True)]
            inside[tuple(slice(b, b + n) for b, n in zip(begin, region.mask.shape, strict=True))] = region.mask
            row |= _region_figures(truth[around], estimate[around], inside, voxel_size_mm)
        rows.append(row)
        for note in region.notes:
            notes.setdefault(note, []).append(region.name)
    return rows, [f"{_named(names)} {note}." for note, names in notes.items()]


def _named(names: list[str]) -> str:
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"Region '{names[0]}'{others}"


def _region_figures(
    truth: np.ndarray, estimate: np.ndarray, region: np.ndarray, voxel_size_mm: tuple[float, float, float]
) -> dict[str, Any]:
    peaks = [metrics.suv_peak(array, region, voxel_size_mm) for array in (truth, estimate)]
    return {
        "volume_ml": _volume_ml(region, voxel_size_mm),
        "suvmean": _compared(metrics.suv_mean(truth, region), metrics.suv_mean(estimate, region)),
        "suvmax": _compared(metrics.suv_max(truth, region), metrics.suv_max(estimate, region)),
        "suvpeak": _compared(*peaks),
    }


def _uncertainty_figures(
    truth: np.ndarray, estimate: np.ndarray, deviation: np.ndarray, body: np.ndarray
) -> dict[str, Any]:
    return {
        "coverage_95": metrics.coverage(truth, estimate, deviation, body),
        "error_correlation": metrics.error_correlation(truth, estimate, deviation, body),
        "mean_deviation_suv": metrics.suv_mean(deviation, body),
        "mean_absolute_error_suv": metrics.suv_mean(np.abs(truth - estimate), body),
    }


def _compared(reference: float, value: float) -> dict[str, float]:
    return {"reference": reference, "image": value, "bias_percent": metrics.bias_percent(reference, value)}


def _volume_ml(region: np.ndarray, voxel_size_mm: tuple[float, float, float]) -> float:
    return float(np.count_nonzero(region) * math.prod(voxel_size_mm) / 1000.0)


def _json_able(value: Any) -> Any:
    """The same with every infinite or undefined number replaced by None, which is what JSON has for them."""
    if isinstance(value, dict):
        return {key: _json_able(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_able(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ---- for people


def format_report(report: Mapping[str, Any]) -> str:
    """The dictionary of `evaluate` as a plain-text table."""
    body = report["body"]
    theirs = report["ddpm3d"]
    where = "body" if report["mask"] == "body" else "mask"
    lines = [
        f"{'':24}{'PSNR dB':>10}{'SSIM':>10}{'NRMSE':>10}",
        f"{f'in the {where}':24}"
        f"{_number(body['psnr_db'], '.2f'):>10}{_number(body['ssim'], '.4f'):>10}{_number(body['nrmse'], '.4f'):>10}",
        f"{'3D-DDPM convention':24}{_number(theirs['psnr_db'], '.2f'):>10}{_number(theirs['ssim'], '.4f'):>10}",
        "",
        *_region_table(where, body, report.get("labels", [])),
    ]
    if "uncertainty" in report:
        lines += ["", *_uncertainty_lines(report["uncertainty"])]
    lines += ["", *(f"{name}: {text}" for name, text in report["conventions"].items())]
    return "\n".join(lines)


def _region_table(where: str, body: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    heads = "".join(f"{title:>10}{'bias %':>9}" for title in ("SUVmean", "SUVmax", "SUVpeak"))
    return [f"{'region':24}{'ml':>10}{heads}"] + [
        f"{_shortened(row.get('name', where), 23):24}{_number(row['volume_ml'], '.1f'):>10}"
        + "".join(_region_cells(row.get(figure)) for figure in REGION_FIGURES)
        for row in [body, *rows]
    ]


def _region_cells(compared: Mapping[str, float | None] | None) -> str:
    if compared is None:
        return ""
    return f"{_number(compared['image'], '.3f'):>10}{_number(compared['bias_percent'], '+.2f'):>9}"


def _uncertainty_lines(figures: Mapping[str, float | None]) -> list[str]:
    return [
        f"{'95 % interval covers':24}{_number(figures['coverage_95'], '.3f'):>10}  of the voxels",
        f"{'correlation with error':24}{_number(figures['error_correlation'], '.3f'):>10}",
        f"{'mean deviation':24}{_number(figures['mean_deviation_suv'], '.4f'):>10}  SUV",
        f"{'mean |error|':24}{_number(figures['mean_absolute_error_suv'], '.4f'):>10}  SUV",
    ]


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else format(value, pattern)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
