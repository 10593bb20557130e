"""What the tests share: the folder of measured data beside the checkout, and the engine as a real process."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

from PETDiffusionLib.cli import main
from PETDiffusionLib.volumes import Volume, write_volume

if TYPE_CHECKING:
    import torch

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured and simulated data beside the checkout; the test is skipped where there is none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data beside the checkout is not there")
    return folder


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder of outputs of the reference implementations; the test is skipped where there is none."""
    folder = REPOSITORY.parent / "shared" / "parity"
    if not folder.is_dir():
        pytest.skip("the folder shared/parity beside the checkout is not there")
    return folder


@pytest.fixture(scope="session")
def named_weights(parity: Path) -> Callable[[str], dict[str, torch.Tensor]]:
    """The weights that the reference outputs were made with: named_weights("ddpm3d_small.json")."""
    spec = importlib.util.spec_from_file_location("weights_from_names", parity / "weights_from_names.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def weights(document: str) -> dict[str, torch.Tensor]:
        import torch

        shapes = json.loads((parity / document).read_text())["parameters"]
        return {name: torch.from_numpy(module.tensor_from_name(name, shape)) for name, shape in shapes.items()}

    return weights


@pytest.fixture(scope="session")
def engine_environment() -> dict[str, str]:
    """The environment for an engine process started from any folder: this checkout's package, one thread."""
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def petdiffusion_process(tmp_path: Path, engine_environment: dict[str, str]) -> Callable[..., CompletedProcess[str]]:
    """Run the command line in a process of its own, in the test's folder: petdiffusion_process("suv", folder)."""

    def run(*arguments: object, **options: object) -> CompletedProcess[str]:
        command = [sys.executable, "-m", "PETDiffusionLib", *map(str, arguments)]
        defaults = {"cwd": tmp_path, "env": engine_environment, "stdin": subprocess.DEVNULL, "timeout": 300}
        return subprocess.run(command, capture_output=True, text=True, **{**defaults, **options})  # type: ignore[call-overload]

    return run


@pytest.fixture
def petdiffusion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., CompletedProcess[str]]]:
    """Run the command line in this process (quick, as torch is imported once): petdiffusion("suv", folder)."""

    def run(*arguments: object) -> CompletedProcess[str]:
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse has refused the arguments
            status = int(stop.code or 0)
        return CompletedProcess(list(arguments), status, *capfd.readouterr())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # main replaces it
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a small denoiser whose weights were never trained: it runs like the real one, and quickly."""
    # Imported here, so that tests without torch start quickly.
    import torch
    from safetensors.torch import save

    from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
    from PETDiffusionLib.training.denoiser import NETWORK

    torch.manual_seed(0)
    arguments = {**NETWORK, "widths": [8, 8, 8], "blocks": [1, 1, 1]}
    content = save({name: value.half() for name, value in ResidualUNet3D(**arguments).state_dict().items()})
    card = {
        "id": "untrained",
        "version": "1",
        "task": "denoise",
        "title": "Never trained",
        "architecture": {"name": "residual_unet3d", "arguments": arguments, "kappa": 0.5},
        "input": {"unit": "suvbw", "scale": 1.0, "voxel_size_mm": [1.65, 1.65, 1.65]},
        "training": dict.fromkeys(("tracers", "dose_range", "data", "command", "seed", "steps", "date"), "none"),
        "figures": {},
        "licence": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0", "must_accept": False},
        "sha256": hashlib.sha256(content).hexdigest(),
        "citation": "none",
        "intended_use": "Tests.",
    }
    folder = tmp_path_factory.mktemp("models")
    (folder / "untrained.safetensors").write_bytes(content)
    (folder / "untrained.json").write_text(json.dumps(card))
    return folder / "untrained.json"


@pytest.fixture
def small_pet(tmp_path: Path) -> Path:
    """A small PET volume in SUV, pet.nrrd: a warm ball in air with a hot spot, on a shifted grid of 4 x 4 x 3 mm."""
    z, y, x = np.indices((20, 24, 28), dtype=np.float32)
    ball = ((z - 10) / 8) ** 2 + ((y - 12) / 9) ** 2 + ((x - 14) / 11) ** 2 < 1
    array = np.random.default_rng(0).normal(1, 0.1, ball.shape) * ball
    array[9:12, 11:14, 12:16] += 4
    image = sitk.GetImageFromArray(array.clip(0).astype(np.float32))
    image.SetSpacing((4.0, 4.0, 3.0))
    image.SetOrigin((-50.0, 20.0, 7.5))
    write_volume(Volume(image, "suvbw"), tmp_path / "pet.nrrd")
    return tmp_path / "pet.nrrd"
