"""Stand-in for slicer.packaging (5.13): pip installs what is missing, but never while the application is tested."""

import importlib.metadata
import logging

import slicer
from packaging.requirements import Requirement


def load_requirements(path):
    with open(path) as file:
        lines = [line.strip() for line in file]
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_check(requirement):
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_ensure(requirements, requester=None, **_options) -> None:
    missing = [str(requirement) for requirement in requirements if not pip_check(requirement)]
    if missing and not slicer.app.testingEnabled():
        question = f"Python packages need to be installed: {', '.join(missing)}. Continue?"
        if not slicer.util.confirmOkCancelDisplay(question, f"{requester} - Install Python Packages"):
            raise RuntimeError("User declined package installation")
        slicer.util.pip_install(missing)
    elif missing:
        logging.info("Testing mode is enabled: skipping pip_ensure for %s", missing)
