"""The command `histogram`: list mode binned to a sinogram."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PETDiffusionLib.cli.arguments import whole_number_from
from PETDiffusionLib.cli.study_folder import study_folder


def add_commands(commands: Any) -> None:
    """Add this file's command to the parser."""
    histogram = commands.add_parser(
        "histogram",
        help="bin list mode to a sinogram",
        description="Bin list mode to a sinogram folder: the prompts, and as normalisation.hs how many pairs of "
        "crystal rings each plane sums. Delayed coincidences go to delayed.hs.",
    )
    histogram.add_argument(
        "list_mode", metavar="LISTMODE", type=Path, help="PETSIRD, or the header (.hdr) of Siemens 32-bit list mode"
    )
    histogram.add_argument("out", metavar="OUT", type=Path, help="the folder, made if it does not exist")
    histogram.add_argument(
        "--span", type=whole_number_from(1), default=1, metavar="N", help="merge so many ring differences (odd)"
    )
    histogram.add_argument("--overwrite", action="store_true", help="replace the sinogram in OUT")
    histogram.set_defaults(run=_histogram)


def _histogram(arguments: argparse.Namespace) -> int:
    names = {"facts": "sinogram.json", **{name: f"{name}.hs" for name in ("prompts", "delayed", "normalisation")}}
    with study_folder(arguments.out, names, arguments.overwrite) as paths:
        import json

        import torch

        from PETDiffusionLib.sinograms.binning import compressed
        from PETDiffusionLib.sinograms.interfile import write_interfile
        from PETDiffusionLib.sinograms.petsird_list_mode import read_petsird
        from PETDiffusionLib.sinograms.siemens_list_mode import read_siemens_list_mode

        read = read_siemens_list_mode if arguments.list_mode.suffix.lower() == ".hdr" else read_petsird
        prompts, delayed, geometry = read(arguments.list_mode)
        merged = geometry
        if arguments.span > 1:
            (prompts, merged), (delayed, _) = (compressed(c, geometry, arguments.span) for c in (prompts, delayed))
        pairs = torch.as_tensor(merged.ring_pairs, dtype=torch.float32)[:, None, None]
        write_interfile(prompts, merged, paths["prompts"])
        write_interfile(delayed, merged, paths["delayed"])
        write_interfile(pairs.expand(merged.data_shape[:3]), merged.without_tof(), paths["normalisation"])
        facts = {"source": arguments.list_mode.name, "corrected": []}  # the crystals' efficiencies are not known
        paths["facts"].write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return 0
