"""Classical reconstruction of sinograms: pure functions of a projector, a sinogram and a start."""

from PETDiffusionLib.reconstruction.back_projection import fbp
from PETDiffusionLib.reconstruction.em import em_towards, map_em, mlem, osem
from PETDiffusionLib.reconstruction.model import AcquisitionModel, Update
from PETDiffusionLib.reconstruction.relative_difference import rdp
from PETDiffusionLib.reconstruction.resolution import BlurringProjector

__all__ = ["AcquisitionModel", "BlurringProjector", "Update", "em_towards", "fbp", "map_em", "mlem", "osem", "rdp"]
