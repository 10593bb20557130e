"""What the estimates of terms need of a header: the energy window, and the singles of the scanner's buckets."""

from __future__ import annotations

from typing import Any

from PETDiffusionLib.sinograms.interfile_header import InterfileHeader


def measured_facts(header: InterfileHeader) -> dict[str, Any]:
    """JSON-able facts: "energy_window_kev" (lowest, highest), "bucket_singles" (counts per second of every bucket)."""
    found = {"energy_window_kev": _energy_window(header), "bucket_singles": _bucket_singles(header)}
    return {name: value for name, value in found.items() if value is not None}


def _energy_window(header: InterfileHeader) -> list[float] | None:
    """The first window, in keV, as STIR and Siemens spell it; None where it is not stated (STIR writes -1 or 0)."""
    names = [f"energy window {end} level" for end in ("lower", "upper")]
    keys = [header.indexed(f"{name} (kev)") or header.indexed(name) for name in names]
    if keys[0] is None or keys[1] is None:
        return None
    low, high = (header.numbers(key)[0] for key in keys if key is not None)
    if low <= 0 or high <= 0:
        return None
    if not low < high or not low < 511 < high:
        header.warnings.append(
            f"'{header.path.name}' states an energy window of {low:g} to {high:g} keV, which does not hold 511 keV: "
            "it is not used. If scatter is to be estimated, give --energy-window-kev."
        )
        return None
    return [low, high]


def _bucket_singles(header: InterfileHeader) -> list[float] | None:
    """The rates of all buckets, in their order; None where some are missing, or nothing was counted."""
    key = "number of buckets"
    if key not in header:
        return None
    rates: list[float] = []
    while (name := f"bucket singles rate[{len(rates) + 1}]") in header:
        rates.append(header.number(name))
    if not any(rates) or min(rates) < 0 or header.whole(key) != len(rates):
        return None
    return rates
