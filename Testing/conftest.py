"""What the tests share: the folder of measured data beside the checkout, and the engine as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured and simulated data beside the checkout; the test is skipped where there is none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data beside the checkout is not there")
    return folder


@pytest.fixture(scope="session")
def engine_environment() -> dict[str, str]:
    """The environment for an engine process started from any folder: this checkout's package, one thread."""
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def petdiffusion(tmp_path: Path, engine_environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a real process, in the test's folder: petdiffusion("suv", folder)."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "PETDiffusionLib", *map(str, arguments)]
        defaults = {"cwd": tmp_path, "env": engine_environment, "stdin": subprocess.DEVNULL, "timeout": 300}
        return subprocess.run(command, capture_output=True, text=True, **{**defaults, **options})  # type: ignore[call-overload]

    return run
