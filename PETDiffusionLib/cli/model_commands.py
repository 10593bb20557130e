"""Commands that say what is there: `models` (cards and weights) and `info` (this installation)."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from PETDiffusionLib import __version__
from PETDiffusionLib.jobs.manifest import package_versions
from PETDiffusionLib.jobs.reporters import plain
from PETDiffusionLib.methods.catalogue import METHODS, Method
from PETDiffusionLib.models import file_is_intact, find_model, list_models, model_folders, user_folder
from PETDiffusionLib.models.importing import KINDS, import_checkpoint

NEEDED = (
    "torch", "numpy", "SimpleITK", "scikit-image", "scipy", "pydicom", "safetensors", "tqdm", "pillow", "filelock",
)  # fmt: skip


def add_commands(commands: Any) -> None:
    """Add this file's commands to the parser."""
    models = commands.add_parser("models", help="list the models, show a card, import a published checkpoint")
    actions = models.add_subparsers(title="actions", metavar="list | show ID | import FILE | path", required=True)
    actions.add_parser("list", help="every model, and whether its weights are intact").set_defaults(run=_list)
    show = actions.add_parser("show", help="a model's card")
    show.add_argument("id", metavar="ID", help="a model's id or the path of its card")
    show.set_defaults(run=_show)
    bring = actions.add_parser("import", help="turn a published checkpoint into a model of your own folder")
    bring.add_argument("file", metavar="FILE", type=Path, help="the authors' checkpoint; nothing in it is run")
    bring.add_argument("--as", dest="kind", required=True, choices=tuple(KINDS), help="what it is")
    bring.add_argument("--accept-licence", action="store_true", help="you have read its licence and accept it")
    bring.set_defaults(run=_import)
    actions.add_parser("path", help="the folders searched, the last one for your own").set_defaults(run=_path)

    info = commands.add_parser("info", help="what this installation has: packages, devices, methods, models")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)


def _list(arguments: argparse.Namespace) -> int:
    for card in list_models():
        state = "intact" if file_is_intact(card) else "weights missing or not the card's"
        print(f"{card.id}  {card.version}  {card.task}  {card.title}  ({state})")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    card = find_model(arguments.id)
    print(json.dumps(card.to_json(), indent=2))
    return 0


def _import(arguments: argparse.Namespace) -> int:
    def accept(licence: dict[str, Any]) -> bool:
        print(f"Licence of this model: {licence['name']}, {licence['url']}")
        if arguments.accept_licence or not licence["must_accept"]:
            return True
        return sys.stdin.isatty() and input("Do you accept it? [y/N] ").strip().lower() in ("y", "yes")

    card = import_checkpoint(arguments.file, arguments.kind, user_folder(), accept)
    print(f"{card.id}: {card.weights_path}")
    return 0


def _path(arguments: argparse.Namespace) -> int:
    for folder in model_folders():
        print(folder)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    facts = collect_info()
    if arguments.json:
        print(json.dumps(plain(facts)))
        return 0
    print(f"PETDiffusionLib {facts['engine']} on Python {facts['python']}, torch {facts['torch'] or 'not installed'}")
    print(f"devices: {', '.join(facts['devices']) or 'none'}; parallelproj: {'yes' if facts['parallelproj'] else 'no'}")
    if facts["missing"]:
        print(f"missing packages: {', '.join(facts['missing'])}")
    for method in facts["methods"]:
        presets = ", ".join(preset["id"] for preset in method["presets"])
        print(f"method {method['id']}: presets {presets}; models {', '.join(method['models']) or 'none'}")
    print(f"folder for further models: {facts['models_folder']}")
    return 0


def collect_info() -> dict[str, Any]:
    """What this installation has, also where packages are missing (then no method that needs them is listed)."""
    versions = package_versions(NEEDED)
    cards = list_models()
    return {
        "engine": __version__,
        "python": platform.python_version(),
        "torch": versions["torch"],
        "devices": _devices(),
        "parallelproj": _can_import("parallelproj"),
        "missing": [name for name, version in versions.items() if version is None],
        "methods": [_describe(method, cards) for method in METHODS.values() if _can_import(method.module)],
        "models": [card.to_json() for card in cards],
        "models_folder": str(user_folder()),
    }


def _describe(method: Method, cards: list[Any]) -> dict[str, Any]:
    return {**method.to_json(), "models": [card.id for card in cards if card.task == method.task]}


def _devices() -> list[str]:
    """The devices that torch can use here, best first; none where torch cannot be imported."""
    if not _can_import("torch"):
        return []
    import torch

    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_usable in usable.items() if is_usable]


def _can_import(name: str) -> bool:
    try:
        import_module(name)
    except Exception:  # a broken installation raises whatever it likes
        return False
    return True
