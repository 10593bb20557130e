"""The methods there are, declared one file each; importable without torch, numpy or SimpleITK."""

from PETDiffusionLib.methods.catalogue.ddip import WITH_PRIOR
from PETDiffusionLib.methods.catalogue.ddpm3d import DDPM3D
from PETDiffusionLib.methods.catalogue.denoise import DENOISE
from PETDiffusionLib.methods.catalogue.method import File, Method, Preset
from PETDiffusionLib.methods.catalogue.reconstruct import CLASSICAL
from PETDiffusionLib.methods.catalogue.red import RED, RESTORE_SINOGRAM
from PETDiffusionLib.methods.catalogue.rules import FIELDS, Rule

METHODS: dict[str, Method] = {
    method.id: method for method in (DENOISE, DDPM3D, *CLASSICAL, *WITH_PRIOR, RED, RESTORE_SINOGRAM)
}

__all__ = ["FIELDS", "METHODS", "File", "Method", "Preset", "Rule"]
