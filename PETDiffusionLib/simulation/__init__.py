"""A PET simulator: phantoms, a scanner, counts, and the reconstruction of them."""

from PETDiffusionLib.simulation.scanners import SCANNERS
from PETDiffusionLib.simulation.study import PHANTOMS, Study, simulate_study
from PETDiffusionLib.simulation.tracers import TRACERS

__all__ = ["PHANTOMS", "SCANNERS", "TRACERS", "Study", "simulate_study"]
