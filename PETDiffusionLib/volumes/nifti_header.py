"""The headers of NIfTI-1, NIfTI-2 and Analyze 7.5, and where they say that the voxels lie.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group; "ANALYZE 7.5 File Format", Mayo Clinic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from PETDiffusionLib.volumes.affines import RAS_TO_LPS, farthest_corner

NIFTI1 = np.dtype(
    [("sizeof_hdr", "i4"), ("unused_1", "S35"), ("dim_info", "u1"), ("dim", "i2", 8), ("intent_p", "f4", 3)]
    + [("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "i2"), ("pixdim", "f4", 8)]
    + [("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1")]
    + [("xyzt_units", "u1"), ("cal_max", "f4"), ("cal_min", "f4"), ("slice_duration", "f4"), ("toffset", "f4")]
    + [("unused_2", "S8"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i2"), ("sform_code", "i2")]
    + [("quatern", "f4", 3), ("qoffset", "f4", 3), ("srow", "f4", (3, 4)), ("intent_name", "S16"), ("magic", "S4")]
)
NIFTI2 = np.dtype(
    [("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", 8)]
    + [("intent_p", "f8", 3), ("pixdim", "f8", 8), ("vox_offset", "i8"), ("scl_slope", "f8"), ("scl_inter", "f8")]
    + [("cal_max", "f8"), ("cal_min", "f8"), ("slice_duration", "f8"), ("toffset", "f8"), ("slice_start", "i8")]
    + [("slice_end", "i8"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i4"), ("sform_code", "i4")]
    + [("quatern", "f8", 3), ("qoffset", "f8", 3), ("srow", "f8", (3, 4)), ("slice_code", "i4"), ("xyzt_units", "i4")]
    + [("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"), ("unused", "S15")]
)
HEADER_BYTES = NIFTI2.itemsize
DATA_STARTS = NIFTI1.itemsize + 4  # of a single file without extensions

# The unit of length, the three low bits of xyzt_units, in millimetres; 0 is unknown and meant as millimetres.
LENGTH_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
MILLIMETRES, SECONDS = 2, 8
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


@dataclass(frozen=True)
class Orientation:
    """Both ways in which a NIfTI header places its voxels, lengths in millimetres, as they stand in the header."""

    qform_code: int
    sform_code: int
    qfac: float
    pixdim: tuple[float, ...]
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, header: np.ndarray) -> Orientation:
        """Of a header's record (NIFTI1 or NIFTI2)."""
        mm = LENGTH_MM.get(int(header["xyzt_units"]) & 7, 1.0)
        pixdim = header["pixdim"].astype(float)
        return cls(
            int(header["qform_code"]),
            int(header["sform_code"]),
            -1.0 if pixdim[0] == -1 else 1.0,
            tuple((np.abs(pixdim[1:4]) * mm).tolist()),
            tuple(header["quatern"].astype(float).tolist()),
            tuple((header["qoffset"].astype(float) * mm).tolist()),
            tuple(map(tuple, (header["srow"].astype(float) * mm).tolist())),
        )

    @property
    def affine(self) -> np.ndarray:
        """Voxel indices to LPS by the sform where its code is set, else the qform, else by voxel sizes alone.

        nibabel, dcm2niix and ITK since 5.0 choose so. Without either, NIfTI's method 1: axes along RAS, origin 0.
        """
        if self.sform_code > 0:
            return self.sform
        return self.qform if self.qform_code > 0 else RAS_TO_LPS @ np.diag([*self.pixdim, 1.0])

    @property
    def sform(self) -> np.ndarray:
        return RAS_TO_LPS @ np.vstack([self.srow, [0.0, 0.0, 0.0, 1.0]])

    @property
    def qform(self) -> np.ndarray:
        affine = np.eye(4)
        affine[:3, :3] = _rotation(self.quatern) * np.array([1.0, 1.0, self.qfac]) * np.array(self.pixdim)
        affine[:3, 3] = self.qoffset
        return RAS_TO_LPS @ affine

    def apart_mm(self, size: tuple[int, ...]) -> float:
        """How far qform and sform place a corner of the volume from each other; 0 where only one is set."""
        if self.sform_code <= 0 or self.qform_code <= 0:
            return 0.0
        return farthest_corner(self.sform, self.qform, size)


def orientation_of(affine: np.ndarray, code: int = SCANNER) -> Orientation:
    """Qform and sform alike, for an affine from voxel indices to LPS (mm) whose axes are at right angles."""
    ras = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(ras[:3, :3], axis=0)
    rotation = ras[:3, :3] / spacing
    qfac = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    return Orientation(
        code,
        code,
        qfac,
        tuple(spacing.tolist()),
        _quaternion(rotation * np.array([1.0, 1.0, qfac])),
        tuple(ras[:3, 3].tolist()),
        tuple(map(tuple, ras[:3].tolist())),
    )


def _rotation(quatern: tuple[float, ...]) -> np.ndarray:
    """The rotation of the unit quaternion whose last three parts are given (nifti1.h, method 2)."""
    b, c, d = quatern
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 0:  # rounded, a half turn
        b, c, d = (part / math.sqrt(1.0 - rest) for part in (b, c, d))
    a = math.sqrt(max(rest, 0.0))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float]:
    """The last three parts of a rotation's unit quaternion, the first one not negative (the largest eigenvector)."""
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = rotation
    symmetric = np.array(
        [
            [xx + yy + zz, 0, 0, 0],
            [yz - zy, xx - yy - zz, 0, 0],
            [zx - xz, yx + xy, yy - xx - zz, 0],
            [xy - yx, zx + xz, zy + yz, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(symmetric, UPLO="L")[1][:, -1]
    b, c, d = (quaternion[1:] * (-1.0 if quaternion[0] < 0 else 1.0)).tolist()
    return b, c, d
