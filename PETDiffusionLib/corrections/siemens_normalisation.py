"""Siemens' component-based normalisation (norm.n with its header norm.n.hdr) as the detection efficiency of every bin.

The components and how they multiply are those that STIR (BinNormalisationFromECAT8.cxx) and NiftyPET (norm.cu) read:
geometric effects [plane, tangential], crystal interference [tangential, crystal in its block], crystal efficiencies
[ring, crystal], axial effects [plane of the span-11 sinogram] (a divisor), and the rings' dead-time parameters.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from PETDiffusionLib.corrections.crystals import CrystalPairs
from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.sinograms.geometry import ScannerGeometry, Segment, segments_of_span
from PETDiffusionLib.sinograms.interfile_header import InterfileHeader

# The components by their names in the header, in the order that the file has where it names none.
COMPONENTS = (
    "geometric effects",
    "crystal interference",
    "crystal efficiencies",
    "axial effects",
    "paralyzing ring dt parameters",
    "non-paralyzing ring dt parameters",
)
NEEDED = 4
BLOCKS_IN_BUCKET, RINGS_IN_BUCKET = 2, 8  # of the mMR: a bucket's singles are counted over two blocks across


@dataclass(frozen=True)
class NormComponents:
    """What a component file holds; shapes in the module's first lines. Dead time is None where the file has none."""

    geometric: np.ndarray
    interference: np.ndarray
    crystals: np.ndarray
    axial: np.ndarray
    axial_span: int
    paralyzing: np.ndarray | None
    non_paralyzing: np.ndarray | None

    @property
    def names(self) -> tuple[str, ...]:
        """Those of COMPONENTS that are there."""
        return COMPONENTS[: NEEDED if self.paralyzing is None or self.non_paralyzing is None else None]


def is_norm_header(path: Path) -> bool:
    """Whether a file is the header of a component-based normalisation."""
    with open(path, "rb") as file:
        return b"number of normalization components" in file.read(1 << 16)


def read_norm(path: str | os.PathLike[str]) -> NormComponents:
    """The components of a normalisation header (.n.hdr) and its data file.

    Raises PETDiffusionError "bad-header", naming the key, and "bad-file" for data that are not as long as stated.
    """
    header = InterfileHeader(Path(path))
    data = _data_file(header)
    count = header.whole("number of normalization components")
    if not NEEDED <= count <= 16:
        raise header.error(f'"number of normalization components" should be {NEEDED} to 16, but is {count}')
    found: dict[str, np.ndarray] = {}
    offset = 0
    for number in range(1, count + 1):
        expected = COMPONENTS[number - 1] if number <= len(COMPONENTS) else ""
        name = header.text(f"normalization component[{number}]", expected).strip().lower()
        sizes = header.whole_numbers(f"matrix size[{number}]")
        if not sizes or min(sizes) < 1 or np.prod(sizes, dtype=float) > 1e8:
            raise header.error(f'"matrix size[{number}]" should be sizes from 1 up, but is {sizes}')
        offset = int(header.number(f"data offset in bytes[{number}]", offset))
        found[name] = _values(data, offset, sizes)
        offset += 4 * int(np.prod(sizes))
    missing = [name for name in COMPONENTS[:NEEDED] if name not in found]
    if missing:
        raise header.error(f"the components {', '.join(missing)} are not among those it names: {', '.join(found)}")
    geometric, interference, crystals, axial = (found[name] for name in COMPONENTS[:NEEDED])
    span = int(header.number("axial compression", 11))
    return NormComponents(
        geometric, interference, crystals, axial, span, found.get(COMPONENTS[4]), found.get(COMPONENTS[5])
    )


def efficiencies(
    norm: NormComponents, geometry: ScannerGeometry, bucket_singles: np.ndarray | None = None
) -> torch.Tensor:
    """The efficiency of every bin, summed over the pairs of crystals in it: float32 [plane, view, tangential].

    `bucket_singles` are counts per second of every bucket, [axial, transaxial] or flat with the transaxial ones first;
    without them dead time is left out. Raises PETDiffusionError "bad-normalisation" where it is of another scanner.
    """
    _check_scanner(norm, geometry)
    if geometry.mashing > 1:  # STIR sums the unmashed views alike
        unmashed = replace(geometry, views=geometry.views * geometry.mashing)
        whole = efficiencies(norm, unmashed, bucket_singles)
        return whole.reshape(len(whole), geometry.views, geometry.mashing, -1).sum(dim=2)
    pairs = CrystalPairs(geometry)
    crystals = without_gaps(norm.crystals)
    if bucket_singles is not None:
        crystals = crystals * live_share(norm, np.asarray(bucket_singles, float), crystals.shape)
    summed = pairs.products(crystals, 1 / axial_factors(norm, geometry))
    block = norm.interference.shape[1]
    across = norm.interference[:, np.arange(geometry.views) % block].T  # [view, tangential]
    return torch.from_numpy(summed * across * _geometric_rows(norm, pairs)[:, None, :]).float()


def without_gaps(crystals: np.ndarray) -> np.ndarray:
    """Efficiencies [ring, crystal] as the bins count crystals: one further on, and zero where a gap stands for one.

    The file starts a block at its first crystal, the bins at the gap before it (STIR moves them alike).
    """
    moved = np.roll(crystals, 1, axis=1)
    moved[:, :: _crystals_in_block(crystals.shape[1])] = 0
    return moved


def live_share(norm: NormComponents, bucket_singles: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What dead time leaves of every crystal's efficiency, [ring, crystal]: exp(p r / (1 + q r)) / (1 + q r).

    p and q are the ring's paralyzing and non-paralyzing parameters, r half the bucket's singles (NiftyPET, norm.cu).
    """
    if norm.paralyzing is None or norm.non_paralyzing is None:
        return np.ones(shape)
    rings, crystals = shape
    across = crystals // (BLOCKS_IN_BUCKET * _crystals_in_block(crystals))
    if bucket_singles.size != across * (rings // RINGS_IN_BUCKET):
        raise PETDiffusionError(
            "bad-normalisation",
            f"{across * (rings // RINGS_IN_BUCKET)} rates of buckets are expected, found {bucket_singles.size}.",
        )
    rates = bucket_singles.reshape(rings // RINGS_IN_BUCKET, across) / 2
    rates = np.repeat(np.repeat(rates, RINGS_IN_BUCKET, axis=0), crystals // across, axis=1)
    slowed = 1 + norm.non_paralyzing.reshape(-1, 1) * rates
    return np.exp(norm.paralyzing.reshape(-1, 1) * rates / slowed) / slowed


def axial_factors(norm: NormComponents, geometry: ScannerGeometry) -> np.ndarray:
    """The axial effect of every pair of rings, [ring, ring]; 1 where the file has none for their difference."""
    count = _largest_difference(norm, geometry.rings)
    ascending = segments_of_span(geometry.rings, norm.axial_span, count)
    middle = len(ascending) // 2
    makers: list[Segment] = [ascending[middle]]  # 0, -1, +1, -2, ...
    for step in range(1, middle + 1):
        makers += [ascending[middle - step], ascending[middle + step]]
    compressed = CrystalPairs(replace(geometry, segments=tuple(makers), tof=None))
    factors = np.ones((geometry.rings, geometry.rings))
    for value, rings in zip(norm.axial.ravel(), compressed.ring_pairs, strict=True):
        for a, b in rings:
            factors[a, b] = value
    return factors


def _largest_difference(norm: NormComponents, rings: int) -> int:
    """The largest ring difference whose span makes as many planes as the axial effects have."""
    half = norm.axial_span // 2
    for count in range((rings - 1 - half) // norm.axial_span, -1, -1):
        largest = count * norm.axial_span + half
        if sum(segment.planes(rings) for segment in segments_of_span(rings, norm.axial_span, largest)) == len(
            norm.axial
        ):
            return largest
    raise PETDiffusionError(
        "bad-normalisation",
        f"The normalisation has {len(norm.axial)} axial effects, which are not the planes of {rings} rings at span "
        f"{norm.axial_span}. Give the normalisation of this scanner.",
    )


def _geometric_rows(norm: NormComponents, pairs: CrystalPairs) -> np.ndarray:
    """The geometric effects of every plane, by the sum of its two rings: [plane, tangential]."""
    rows = [sum(rings[0]) if rings else 0 for rings in pairs.ring_pairs]
    return norm.geometric[rows if len(norm.geometric) > 1 else np.zeros(len(rows), int)]


def _check_scanner(norm: NormComponents, geometry: ScannerGeometry) -> None:
    expected = {
        "rings x crystals": ((geometry.rings, geometry.crystals), norm.crystals.shape),
        "tangential bins": (geometry.tangential_bins, norm.geometric.shape[1]),
        "tangential bins of the crystal interference": (geometry.tangential_bins, norm.interference.shape[0]),
        "planes of the geometric effects": (2 * geometry.rings - 1, max(len(norm.geometric), 2 * geometry.rings - 1)),
    }
    for name, (wanted, found) in expected.items():
        if wanted != found:
            raise PETDiffusionError(
                "bad-normalisation",
                f"The normalisation is of another scanner than {geometry.name}: {name} {found}, {wanted} are expected.",
            )


def _crystals_in_block(crystals: int) -> int:
    """With the gap that follows a block: 9 of the mMR's 504."""
    if crystals != 504:
        raise PETDiffusionError(
            "bad-normalisation",
            f"A normalisation of {crystals} crystals a ring is not read: only the Siemens mMR's (504) is known here.",
        )
    return 9


def _values(data: Path, offset: int, sizes: list[int]) -> np.ndarray:
    """A component as little-endian floats, the first of `sizes` running fastest."""
    count = int(np.prod(sizes))
    if offset < 0 or data.stat().st_size < offset + 4 * count:
        raise PETDiffusionError(
            "bad-file",
            f"'{data}' should hold {offset + 4 * count} bytes and has {data.stat().st_size}. Copy the file again.",
        )
    values = np.fromfile(data, "<f4", count, offset=offset)
    if not np.isfinite(values).all():
        raise PETDiffusionError("bad-file", f"'{data}' holds values that are not finite. Copy the file again.")
    return values.reshape(sizes[::-1]).astype(np.float64)


def _data_file(header: InterfileHeader) -> Path:
    stated = header.text("name of data file", "").strip()
    beside = [header.path.parent / name for name in (stated, header.path.name.removesuffix(".hdr")) if name]
    for path in beside:
        if path.is_file() and path != header.path:
            return path
    raise PETDiffusionError(
        "missing-file", f"'{header.path}' has its data in '{stated or beside[-1].name}', which is not beside it."
    )
