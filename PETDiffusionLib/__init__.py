"""PETDiffusion's engine: denoising and reconstruction of PET with diffusion models. For research use only."""

__version__ = "0.1.0"
