"""Projectors: line integrals through an image, and their adjoints."""

from PETDiffusionLib.projection.autograd import back_project, project
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.projection.cylinder import CylinderProjector
from PETDiffusionLib.projection.lines import LineProjector
from PETDiffusionLib.projection.projector import Projector

__all__ = ["CylinderProjector", "LineProjector", "Projector", "back_project", "make_projector", "project"]
