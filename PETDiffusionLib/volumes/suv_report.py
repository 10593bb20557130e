"""What a PET series says about SUV, for programs (`SuvFacts`) and for people (`describe_suv`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SuvFacts:
    """What a PET series says about SUV, and what follows. Nothing in it names the patient.

    suv_factor turns rescaled pixel values (for CNTS: counts) into SUVbw; suv_per_bqml turns Bq/ml into SUVbw. With
    DecayCorrection NONE both hold at reference_time (the earliest acquisition) and each slice has a decay of its own.
    answered_by: the option that answers the refusal, None where nothing does. warnings: what contradicts itself, or
    can hardly be.
    """

    series_uid: str
    slices: int
    manufacturer: str
    model: str
    source_unit: str
    suv_type: str | None
    suv_variant: str | None
    corrected_image: tuple[str, ...]
    decay_correction: str | None
    tracer: str | None
    nuclide: str | None
    weight_kg: float | None
    dose_mbq: float | None
    dose_tag_in_mbq: bool
    half_life_s: float | None
    injection_time: str | None
    injection_source: str | None
    reference_time: str | None
    reference_source: str | None
    minutes: float | None
    dose_at_reference_mbq: float | None
    philips_suv_factor: float | None
    philips_activity_factor: float | None
    suv_per_bqml: float | None
    suv_factor: float | None
    missing: tuple[str, ...]
    refusal: str | None
    height_m: float | None
    sex: str | None
    answered_by: str | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The facts as JSON-able values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def refusal_sentence(facts: SuvFacts) -> str:
    """Why there is no SUVbw, and what to do."""
    if facts.refusal:
        return facts.refusal
    missing = "; ".join(facts.missing)
    return f"SUVbw needs {missing}. State that to denoise or convert, or export the series again."


def describe_suv(facts: SuvFacts) -> str:
    """The facts as lines for a person."""

    def shown(value: float | None, unit: str) -> str:
        return "missing" if value is None else f"{value:.6g} {unit}"

    dose_note = " (the tag is in MBq)" if facts.dose_tag_in_mbq else ""
    lines = [
        ("SUV factor", f"{facts.suv_factor:.6g}" if facts.suv_factor is not None else "none"),
        ("Variant", facts.suv_variant or "none"),
        ("Series", f"{facts.series_uid}, {facts.slices} slices"),
        ("Scanner", f"{facts.manufacturer} {facts.model}".strip() or "not stated"),
        ("Units", f"{facts.source_unit or 'missing'}{f', SUVType {facts.suv_type}' if facts.suv_type else ''}"),
        ("Corrected for", ", ".join(facts.corrected_image) or "not stated"),
        ("Decay correction", facts.decay_correction or "missing"),
        ("Tracer", " ".join(part for part in (facts.tracer, facts.nuclide) if part) or "not stated"),
        ("Weight", shown(facts.weight_kg, "kg")),
        ("Dose", shown(facts.dose_mbq, "MBq") + dose_note),
        ("Half-life", shown(facts.half_life_s, "s")),
        ("Injection", _moment(facts.injection_time, facts.injection_source)),
        ("Activity refers to", _moment(facts.reference_time, facts.reference_source)),
        ("Time between", shown(facts.minutes, "minutes")),
        ("Dose at that time", shown(facts.dose_at_reference_mbq, "MBq")),
    ]
    if facts.philips_suv_factor is not None:
        lines.append(("Philips SUV factor (7053,1000)", f"{facts.philips_suv_factor:.6g}"))
    if facts.philips_activity_factor is not None:
        lines.append(("Philips activity factor (7053,1009)", f"{facts.philips_activity_factor:.6g}"))
    lines += [("Warning", sentence) for sentence in facts.warnings]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _moment(moment: str | None, source: str | None) -> str:
    return f"{moment} from {source}" if moment else (source or "missing")
