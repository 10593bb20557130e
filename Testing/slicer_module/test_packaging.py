"""What is packaged is what is in the tree, and it works where Slicer installs it and from the source tree alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTED_MODULES = Path("lib", "Slicer-5.13", "qt-scripted-modules")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The folder of scripted modules after configuring and installing with the stand-in for Slicer's CMake package."""
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    options = [
        f"-DSlicer_DIR={Path(__file__).parent / 'cmake'}",
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        "-DBUILD_TESTING=ON",
    ]
    for arguments in (["-S", str(REPOSITORY), "-B", str(build), *options], ["--install", str(build)]):
        done = subprocess.run(["cmake", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return prefix / SCRIPTED_MODULES


def files_under(root, folder, *patterns):
    found = (path for pattern in patterns for path in (root / folder).rglob(pattern))
    return {str(path.relative_to(root)) for path in found if path.is_file() and "__pycache__" not in path.parts}


def test_every_file_of_the_module_the_engine_and_the_resources_is_packaged(installed) -> None:
    module = files_under(REPOSITORY / "PETDiffusion", ".", "*.py")
    engine = files_under(REPOSITORY, "PETDiffusionLib", "*.py")
    resources = files_under(REPOSITORY, "Resources", "*.png", "*.ui", "*.txt", "*.json", "*.safetensors")
    screenshots = files_under(REPOSITORY, "Resources/Screenshots", "*")  # for people who read about it, not installed
    assert files_under(installed, ".", "*") == (module | engine | resources) - screenshots


@pytest.mark.parametrize("layout", ["installed", "source"])
def test_the_module_loads_and_its_engine_answers(layout, request, tmp_path) -> None:
    folder = request.getfixturevalue("installed") if layout == "installed" else REPOSITORY / "PETDiffusion"
    script = tmp_path / "load.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'Testing' / 'slicer_host')!r})\n"
        f"import host; host.start()\n"
        f"module = host.loadModule({str(folder / 'PETDiffusion.py')!r})\n"
        "panel, widget = host.showModule(module)\n"
        "widget.cleanup()\n"
        "print(widget.logic.info()['engine'], module.resource('UI/PETDiffusion.ui'))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    version, path = done.stdout.split(maxsplit=1)
    assert version == "0.1.0", done.stderr
    assert Path(path.strip()).is_relative_to(folder if layout == "installed" else REPOSITORY)


def test_the_extensions_index_entry() -> None:
    entry = json.loads((REPOSITORY / "PETDiffusion.json").read_text())
    assert entry["category"] == "Nuclear Medicine" and entry["build_dependencies"] == ["PyTorch"]
    assert entry["scm_url"].endswith(".git") and entry["$schema"].endswith(".json#")


def test_icon_and_screenshots_of_the_description_are_in_the_tree() -> None:
    description = (REPOSITORY / "CMakeLists.txt").read_text()
    addresses = [word.strip('"()') for word in description.split() if "raw.githubusercontent.com" in word]
    assert len(addresses) >= 2
    for address in addresses:
        assert (REPOSITORY / address.split("/main/", 1)[1]).is_file(), address


def test_requirements_can_be_read_and_leave_torch_to_its_extension(module) -> None:
    import slicer.packaging
    from PETDiffusionSlicer.places import resource

    names = {requirement.name for requirement in slicer.packaging.load_requirements(resource("requirements.txt"))}
    assert names == {"scikit-image", "safetensors", "filelock", "tqdm"}


def test_nothing_that_slicer_does_not_bundle_is_imported_with_the_module() -> None:
    heavy = {"torch", "skimage", "safetensors", "tqdm", "SimpleITK", "PETDiffusionLib"}
    for path in (REPOSITORY / "PETDiffusion").rglob("*.py"):
        lines = [line.split() for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not heavy & {words[1].split(".")[0] for words in lines}, path
