"""A PET simulator: phantoms, a scanner, counts, and the reconstruction of them."""

from PETDiffusionLib.simulation.scanners import SCANNERS
from PETDiffusionLib.simulation.study import DOSE_REDUCTIONS, PHANTOMS, Study, simulate_study
from PETDiffusionLib.simulation.tracers import TRACERS

__all__ = ["DOSE_REDUCTIONS", "PHANTOMS", "SCANNERS", "TRACERS", "Study", "simulate_study"]
