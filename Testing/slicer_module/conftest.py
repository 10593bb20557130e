"""The module in the test host: one application for the session, an empty scene and a fresh panel for every test."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import stat
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "PETDiffusion" / "PETDiffusion.py"

if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    collect_ignore_glob = ["test_*.py"]  # without the extra "host" there is nothing to run the module in
else:
    sys.path.insert(0, str(REPOSITORY / "Testing" / "slicer_host"))


@pytest.fixture(scope="session")
def application():
    """The host's application with views, in testing mode: no message box waits for an answer."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import host
    import qt

    application = host.start(testing=True)
    views = qt.QWidget()
    views.resize(960, 720)
    application.showViews(views)
    views.show()
    return application


@pytest.fixture(scope="session")
def module(application):
    """The Python module PETDiffusion, loaded as the module factory does."""
    import host

    return host.loadModule(MODULE)


@pytest.fixture
def scene(application, module, untrained_model):
    """The empty scene; the engine has the small untrained model beside the bundled one, and Slicer's Python."""
    import slicer

    slicer.mrmlScene.Clear(0)
    module.settings.save(python="", modelsFolder=str(untrained_model.parent), threads=1)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)


@contextlib.contextmanager
def shown_panel(module):
    """The module's panel, shown and entered; what it offers is known."""
    import host
    import slicer
    from driving import until

    widget, panel = host.showModule(module)
    widget.resize(440, 860)
    widget.show()
    until(lambda: panel.offers.info)
    yield panel
    panel.cleanup()
    for child in widget.findChildren(slicer.qMRMLWidget):
        child.setMRMLScene(None)  # the lists of nodes stop following the scene
    widget.close()
    widget.deleteLater()


@pytest.fixture
def panel(scene, module):
    """The panel over the real engine."""
    with shown_panel(module) as panel:
        yield panel


@pytest.fixture
def panel_over_fake_engine(scene, module, fake_engine):
    """The panel over an engine that answers at once what it has: nothing."""
    module.settings.save(python=fake_engine(""))
    with shown_panel(module) as panel:
        yield panel


@pytest.fixture
def volume(scene):
    """A small PET volume node in coded SUV."""
    from driving import makeVolume

    return makeVolume()


@pytest.fixture
def sinogram(tmp_path):
    """The file of a small sinogram: parallel beams through a warm block, without attenuation."""
    import torch

    from PETDiffusionLib.projection import make_projector
    from PETDiffusionLib.sinograms import parallel_beam
    from PETDiffusionLib.sinograms.interfile import write_interfile

    geometry = parallel_beam(views=24, bins=32, bin_mm=4.0, planes=4, plane_mm=4.0)
    image = torch.zeros(4, 32, 32)
    image[:, 12:20, 12:20] = 1.0
    prompts = make_projector(geometry, tuple(image.shape), (4.0, 4.0, 4.0)).forward(image)
    write_interfile(prompts, geometry, tmp_path / "block.hs")
    return tmp_path / "block.hs"


@pytest.fixture
def fake_engine(tmp_path):
    """Make a Python that, as the engine, runs the given lines instead, and has the given methods and models."""

    def make(lines, methods=(), models=()):
        script, python = tmp_path / "fake.py", tmp_path / "python"
        info = {
            "methods": methods,
            "models": models,
            "devices": [],
            "python": "3",
            "torch": None,
            "parallelproj": False,
        }
        prelude = "import json, os, sys, time\ndef say(**event): print(json.dumps(event), flush=True)\n"
        prelude += f"if 'info' in sys.argv: print({json.dumps(info)!r}); sys.exit()\n"
        script.write_text(prelude + lines)
        python.write_text(f'#!/bin/sh\n"{sys.executable}" "{script}" "$@"\nexit $?\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        return str(python)

    return make


@pytest.fixture(scope="session")
def repository_example():
    """The batch of the module's README, as it stands there."""
    text = (REPOSITORY / "PETDiffusion" / "README.md").read_text(encoding="utf-8")
    return text.split("```python\n", 1)[1].split("```", 1)[0]
