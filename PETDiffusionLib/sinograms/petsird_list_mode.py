"""PETSIRD list mode: coincidences of detecting elements, binned on the cylinder that the elements form."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.binning import EventBinner
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, TimeOfFlight
from PETDiffusionLib.sinograms.orientation import PatientPosition, position_in_codes
from PETDiffusionLib.sinograms.scanners import FWHM_TO_SIGMA

FIELD_OF_VIEW = 0.7  # of the ring's radius: the lines that are binned


def read_petsird(path: str | os.PathLike[str]) -> tuple[torch.Tensor, torch.Tensor, ScannerGeometry]:
    """Prompts and delayed coincidences [plane, view, tangential(, tof)] of a PETSIRD file, and their geometry.

    PETSIRD does not define where the axes of its gantry point: they are taken as STIR takes them (PETSIRDInfo.cxx), for
    its own (see orientation.py). Raises PETDiffusionError for elements that form no cylinder of rings, and "no-petsird"
    where the package is not installed.
    """
    try:
        import petsird
    except ImportError as error:
        raise PETDiffusionError(
            "no-petsird", "PETSIRD files need the package petsird. Install it: pip install petsird"
        ) from error
    try:
        with petsird.BinaryPETSIRDReader(os.fspath(path)) as reader:
            header = reader.read_header()
            scanner = header.scanner
            geometry, crystal, ring = _cylinder(scanner)
            geometry = replace(geometry, patient_position=_patient_position(header.exam))
            prompts, delayed = EventBinner(geometry), EventBinner(geometry)
            edges = scanner.tof_bin_edges[0][0].edges
            centres_mm = (edges[1:] + edges[:-1]) / 2
            bins_of_energy = scanner.event_energy_bin_edges[0].number_of_bins()
            for block in reader.read_time_blocks():
                if isinstance(block, petsird.TimeBlock.EventTimeBlock):
                    for binner, events in ((prompts, block.value.prompt_events), (delayed, block.value.delayed_events)):
                        if events and events[0][0]:
                            _add(binner, events[0][0], crystal, ring, bins_of_energy, centres_mm)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise PETDiffusionError("bad-file", f"'{path}' cannot be read as PETSIRD ({error}).") from error
    left_out = prompts.left_out + delayed.left_out
    if left_out:
        warnings.warn(
            f"{left_out} of {left_out + int(prompts.counts.sum() + delayed.counts.sum())} coincidences lie outside the "
            f"bins (lines beyond {FIELD_OF_VIEW:g} of the ring's radius, or times beyond the TOF range), and are left "
            "out.",
            stacklevel=2,
        )
    return prompts.counts, delayed.counts, geometry


def _patient_position(exam: Any) -> PatientPosition:
    """What the file says of how the patient lay; nothing where it has no examination."""
    if exam is None:
        return PatientPosition()
    said = exam.patient_orientation
    return position_in_codes(
        said.patient_gantry_relationship_code_sequence.code_value,
        said.patient_orientation_modifier_code_sequence.code_value,
    )


def _add(
    binner: EventBinner,
    events: list[Any],
    crystal: np.ndarray,
    ring: np.ndarray,
    bins_of_energy: int,
    centres_mm: np.ndarray,
) -> None:
    pairs = np.array([event.detection_bins for event in events], np.int64).reshape(-1, 2) // bins_of_energy
    tof_mm = centres_mm[[event.tof_idx for event in events]]  # (t1 - t2) c / 2: positive is nearer to the second
    first, second = pairs.T
    binner.add((crystal[first], crystal[second]), (ring[first], ring[second]), tof_mm)


def _cylinder(scanner: Any) -> tuple[ScannerGeometry, np.ndarray, np.ndarray]:
    """The geometry of the scanner's elements, and the crystal and ring number of each."""
    modules = scanner.scanner_geometry.replicated_modules
    if len(modules) != 1:
        raise _not_a_cylinder(f"{len(modules)} types of modules")
    centres = _centres_mm(modules[0])
    radii = np.hypot(centres[:, 0], centres[:, 1])
    heights, ring = np.unique(np.round(centres[:, 2], 2), return_inverse=True)
    gaps = np.diff(heights)
    per_ring = np.bincount(ring)
    if per_ring.min() != per_ring.max() or per_ring[0] % 2:
        raise _not_a_cylinder(f"rings of {per_ring.min()} to {per_ring.max()} elements")
    if len(gaps) and gaps.max() > 1.05 * gaps.min():
        raise _not_a_cylinder(f"rings {gaps.min():.2f} to {gaps.max():.2f} mm apart")
    if radii.max() > 1.05 * radii.min():
        raise _not_a_cylinder(f"elements {radii.min():.1f} to {radii.max():.1f} mm from the axis")
    angle = np.arctan2(centres[:, 0], -centres[:, 1]) % (2 * np.pi)  # from the top towards the right
    crystal = np.empty(len(centres), np.int64)
    for number in range(len(heights)):
        members = np.flatnonzero(ring == number)
        crystal[members[np.argsort(angle[members])]] = np.arange(len(members))
    crystals = int(per_ring[0])
    offset = angle - crystal * 2 * np.pi / crystals
    geometry = ScannerGeometry(
        name=scanner.model_name or "PETSIRD",
        radius_mm=float(radii.mean()),
        rings=len(heights),
        crystals=crystals,
        ring_spacing_mm=float(gaps.mean()) if len(gaps) else 4.0,
        views=crystals // 2,
        tangential_bins=2 * int(crystals / np.pi * np.arcsin(FIELD_OF_VIEW)) + 1,
        segments=tuple(Segment(d, d) for d in range(1 - len(heights), len(heights))),
        view_offset_deg=float(np.degrees(offset.mean())),
        tof=_tof(scanner),
    )
    return geometry, crystal, ring


def _centres_mm(replicated: Any) -> np.ndarray:
    """The middle of every element, [module * element, 3], in gantry coordinates."""
    elements = replicated.object.detecting_elements
    middle = np.mean([corner.c for corner in elements.object.shape.corners], axis=0)
    local = np.array([t.matrix[:, :3] @ middle + t.matrix[:, 3] for t in elements.transforms])
    return np.concatenate([local @ t.matrix[:, :3].T + t.matrix[:, 3] for t in replicated.transforms])


def _tof(scanner: Any) -> TimeOfFlight | None:
    edges = np.asarray(scanner.tof_bin_edges[0][0].edges, np.float64)
    if len(edges) <= 2:
        return None
    widths = np.diff(edges)
    if widths.max() > 1.01 * widths.min() or abs(edges[0] + edges[-1]) > widths[0]:
        raise _not_a_cylinder("TOF bins of unequal width or not about zero")
    sigma_mm = float(scanner.tof_resolution[0][0]) * FWHM_TO_SIGMA
    return TimeOfFlight(len(widths), float(widths.mean()), sigma_mm)


def _not_a_cylinder(found: str) -> PETDiffusionError:
    return PETDiffusionError(
        "bad-geometry",
        f"A cylinder of evenly spaced rings of single crystals is expected in the PETSIRD file, found {found}.",
    )
