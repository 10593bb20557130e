"""What can be a patient's weight, an injected activity, an SUV: the slips of entry that show in the numbers."""

from __future__ import annotations

import numpy as np

from PETDiffusionLib.volumes.nuclides import NUCLIDES

# No standard sets these limits: all are chosen, wide enough that usual patients and protocols pass in silence.
HEAVIEST_KG = 650.0  # the heaviest human on record weighed 635 kg
SMALLEST_HUMAN_KG = 2.0  # below it, an animal's
PLAUSIBLE_BMI = (10.0, 60.0)
ADULT_M = 1.3

# Injected activity in MBq per kilogram. Humans: from a long axial field of view with a long-lived tracer to water and
# rubidium (EANM and SNMMI procedure guidelines lie well inside); animals: some to tens of MBq in a mouse of 25 g.
HUMAN_MBQ_PER_KG = {"long-lived": (0.1, 10.0), "usual": (0.3, 20.0), "short-lived": (0.3, 40.0)}
ANIMAL_MBQ_PER_KG = (10.0, 1500.0)
YTTRIUM_90_MBQ_PER_KG = (0.5, 300.0)  # radioembolisation, the treatment after which yttrium-90 is imaged: some GBq
LONG_LIVED_S, SHORT_LIVED_S = 12 * 3600.0, 15 * 60.0

PLAUSIBLE_SUVMAX = (0.1, 1000.0)  # of a PET volume
HIGHEST_MEAN_SUV = 15.0  # of its voxels above a tenth of their mean
MOST_OF_THE_DOSE = 1.3  # a volume cannot hold more than was injected, save for calibration and rounding
USUAL_HALF_LIVES = 6.0  # from injection to scan
ADVICE = "check the unit, the weight in kg, the dose in MBq and the times."


def believed_weight(tag_value: float | None) -> tuple[float | None, str | None]:
    """A weight in kg as it can be, None and why where it cannot."""
    if tag_value is None or tag_value <= HEAVIEST_KG:
        return tag_value, None
    return (
        None,
        f"PatientWeight (0010,1030) {tag_value:g} kg is no patient's; in grams it would be {tag_value / 1000:g} kg",
    )


def believed_height(tag_value: float | None) -> float | None:
    """A height in metres; one that can only be in centimetres is turned into it, None where neither can be."""
    if tag_value is None or 0.2 <= tag_value <= 2.5:
        return tag_value
    return tag_value / 100 if 30 <= tag_value <= 250 else None


def mbq_per_kg_range(weight_kg: float | None, half_life_s: float | None) -> tuple[float, float]:
    """The plausible injected activity per kilogram."""
    if weight_kg is not None and weight_kg < SMALLEST_HUMAN_KG:
        return ANIMAL_MBQ_PER_KG
    if half_life_s is not None and NUCLIDES["Y-90"].has_half_life(half_life_s):
        return YTTRIUM_90_MBQ_PER_KG
    if half_life_s is not None and half_life_s > LONG_LIVED_S:
        return HUMAN_MBQ_PER_KG["long-lived"]
    is_short = half_life_s is not None and half_life_s < SHORT_LIVED_S
    return HUMAN_MBQ_PER_KG["short-lived" if is_short else "usual"]


def is_plausible_dose(dose_mbq: float, weight_kg: float | None, half_life_s: float | None) -> bool:
    """Whether somebody of that weight (70 kg where it is not known) may have been given the dose."""
    lowest, highest = mbq_per_kg_range(weight_kg, half_life_s)
    return lowest <= dose_mbq / (weight_kg or 70.0) <= highest


def implausible_patient(
    weight_kg: float | None,
    dose_mbq: float | None,
    half_life_s: float | None,
    height_m: float | None = None,
    minutes: float | None = None,
) -> list[str]:
    """Sentences about a weight, height, dose and time that hardly go together."""
    sentences = []
    if weight_kg and dose_mbq and not is_plausible_dose(dose_mbq, weight_kg, half_life_s):
        low, high = mbq_per_kg_range(weight_kg, half_life_s)
        sentences.append(
            f"{dose_mbq:g} MBq for {weight_kg:g} kg is {dose_mbq / weight_kg:.3g} MBq/kg (usual: {low:g} to {high:g}): "
            "check the dose (in Bq?) and the weight (in kg? an animal?), or state --dose-mbq and --weight-kg."
        )
    if weight_kg and height_m and height_m >= ADULT_M:
        bmi = weight_kg / height_m**2
        if not PLAUSIBLE_BMI[0] <= bmi <= PLAUSIBLE_BMI[1]:
            pounds = f" (in pounds it would be {weight_kg * 0.4536:.0f} kg)" if bmi > PLAUSIBLE_BMI[1] else ""
            sentences.append(
                f"{weight_kg:g} kg at a height of {height_m:g} m is hardly possible{pounds}: check the weight, or "
                "state --weight-kg."
            )
    if minutes and half_life_s and minutes * 60 > USUAL_HALF_LIVES * half_life_s:
        sentences.append(
            f"From injection to scan are {minutes:.1f} minutes, {minutes * 60 / half_life_s:.1f} half-lives: check the "
            "times, or state --minutes."
        )
    return sentences


def implausible_suvmax(hottest: float) -> list[str]:
    """A sentence about the highest SUV of a volume, or of all frames of a series, that can hardly be."""
    if PLAUSIBLE_SUVMAX[0] <= hottest <= PLAUSIBLE_SUVMAX[1]:
        return []
    return [f"The highest SUV is {hottest:.3g}: {ADVICE}"]


def implausible_suv(suv: np.ndarray, voxel_ml: float, weight_kg: float | None, is_frame: bool = False) -> list[str]:
    """Sentences about SUVbw [z, y, x] that can hardly be: a wrong unit, weight, dose or time shows here at last.

    One frame of many may hold next to nothing.
    """
    hottest, total = float(suv.max()), float(suv.sum(dtype=np.float64))
    if said := implausible_suvmax(hottest):
        return [] if is_frame and hottest < PLAUSIBLE_SUVMAX[0] else said
    body = suv[suv > 0.1 * max(total / suv.size, 0.0)]
    if body.size and (mean := float(body.mean(dtype=np.float64))) > HIGHEST_MEAN_SUV:
        return [f"The mean SUV is {mean:.3g} (above a tenth of it): {ADVICE}"]
    # SUV is activity per gram over dose per gram: its integral over the body is the body's weight at most.
    if weight_kg and (share := total * voxel_ml / (1000 * weight_kg)) > MOST_OF_THE_DOSE:
        return [f"The volume holds {share:.3g} times the injected activity: {ADVICE}"]
    return []
