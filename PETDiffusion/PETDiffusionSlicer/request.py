"""What is asked of a job, and the document that tells the engine."""

from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

from . import settings
from .engine import EngineError
from .options import valuesOf
from .places import engineRoom

INPUT_FILE = "input.nrrd"


@dataclass
class Request:
    """What is asked of a job: a volume node, or the path of a sinogram for the methods that take one.

    `files` are the method's further files (role -> path: "attenuation" ...), `options` its own options (name -> value).
    Output nodes that are None are made; uncertainty and difference are made where wanted. What is None otherwise is the
    engine's choice (preset, model, samples, threads), or follows from the volume (unit).
    """

    inputVolume: object = None
    sinogram: str | None = None
    segmentation: object = None
    method: str = "denoise"
    preset: str | None = None
    model: str | None = None
    samples: int | None = None
    files: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    unit: str | None = None
    weightKg: float | None = None
    doseMBq: float | None = None
    minutes: float | None = None
    halfLifeMinutes: float | None = None
    uncertainty: bool = True
    difference: bool = False
    denoisedVolume: object = None
    uncertaintyVolume: object = None
    differenceVolume: object = None

    @property
    def name(self):
        """What the results are named after."""
        return self.inputVolume.GetName() if self.inputVolume else Path(self.sinogram).stem

    @property
    def declared(self):
        """The method as the engine declares it. Raises EngineError."""
        return declaredMethod(self.method)

    @property
    def outputs(self):
        """The roles of the volumes that the engine makes, the denoised or reconstructed one first."""
        first, *others = self.declared.outputs
        return [first, *(role for role in others if role == "uncertainty" and self.uncertainty)]

    def document(self, folder):
        """The job as the engine reads it, with its files in a folder; a volume is written there in SUV."""
        mainInput = next(iter(self.declared.inputs))
        given = folder / INPUT_FILE if self.inputVolume else self.sinogram
        options = {"preset": self.preset, "samples": self.samples, "model": self.model, **self.options}
        if self.inputVolume and "unit" in self.declared.rules:
            options["unit"] = "suvbw"
        return {
            "schema": 1,
            "method": self.method,
            # The engine's working folder is another one.
            "inputs": {role: str(Path(path).absolute()) for role, path in {mainInput: given, **self.files}.items()},
            "outputs": {role: str(folder / f"{role}.nrrd") for role in self.outputs},
            "options": {name: value for name, value in options.items() if value is not None},
            "device": self.device,
            "threads": self.threads,
            "seed": self.seed,
        }


def requestFrom(node):
    """The request that a parameter node describes, with what its method takes of it."""
    method = declaredMethod(node.method or "denoise")
    takesSinogram = next(iter(method.inputs.values())).kind == "sinogram"
    own = valuesOf(node, method.id)
    return Request(
        inputVolume=None if takesSinogram else node.inputVolume,
        sinogram=node.sinogramPath if takesSinogram else None,
        segmentation=node.segmentation,
        method=method.id,
        preset=(node.preset or None) if "preset" in method.rules else None,
        model=(node.model or None) if "model" in method.rules else None,
        samples=(node.samples or None) if "samples" in method.rules else None,
        files={role: path for role, path in own.items() if role in method.inputs},
        options={name: value for name, value in own.items() if name in method.rules},
        device=node.device or "auto",
        threads=settings.load()["threads"] or None,
        unit=node.unit or None,
        weightKg=node.weightKg,
        doseMBq=node.doseMBq,
        minutes=node.minutes,
        halfLifeMinutes=node.halfLifeMinutes,
        uncertainty=node.wantUncertainty,
        difference=node.wantDifference,
        denoisedVolume=node.denoisedVolume,
        uncertaintyVolume=node.uncertaintyVolume,
        differenceVolume=node.differenceVolume,
    )


def declaredMethod(name):
    """A method as the engine declares it: its inputs, outputs and options. Raises EngineError."""
    methods = engineRoom("methods.catalogue").METHODS
    if name not in methods:
        sentence = _("There is no method '{name}'; the methods are {methods}.")
        raise EngineError("no-method", sentence.format(name=name, methods=", ".join(methods)))
    return methods[name]
