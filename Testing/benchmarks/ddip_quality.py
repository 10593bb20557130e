"""DDIP against the classical reconstructions and its own parents: `python -m Testing.benchmarks.ddip_quality`.

Every row is one body, noise realisation and method; rows are kept in a file and never made twice, so a run that was
stopped goes on. Each method's parameter is the best of a few on bodies that are not scored. `--table` only prints.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.ddip import (
    DRAWS_FOR_UNCERTAINTY,
    PriorReconstruction,
    Settings,
    reconstruct_with_prior,
)
from PETDiffusionLib.methods.reconstruct import reconstruct
from PETDiffusionLib.models import find_model
from PETDiffusionLib.sinograms import Sinogram
from Testing.benchmarks.baselines import gaussian
from Testing.benchmarks.gallery import write_gallery
from Testing.benchmarks.reconstruction_bodies import Body, Study, study_of, test_bodies, tuning_bodies
from Testing.benchmarks.rows import read_rows
from Testing.benchmarks.spread import share_and_factor

DRF = 20.0
SUBSETS = 8
# method: the values of its parameter that are tried
TUNED = {
    "osem+gaussian": [6.0, 7.0, 8.0, 9.0, 10.0],  # FWHM in mm
    "map-em": [0.0006, 0.001, 0.0017, 0.003],
    "rdp": [0.006, 0.01, 0.013, 0.017, 0.03],
    "dps": [0.03, 0.1, 0.3],
    "dds": [0.3, 0.5, 1.0, 2.0],
    "ddip": [0.5, 1.0, 2.0, 4.0, 8.0],
}
ABLATION = {
    "ddip adapt=none": {"adapt": "none"},
    "ddip adapt=full": {"adapt": "full"},
    "ddip inner=1": {"inner": 1},
    "ddip inner=10": {"inner": 10},
    "ddip mu=1": {"mu": 1.0},
    "ddip mu=16": {"mu": 16.0},
    "ddip steps=4": {"steps": 4},
    "ddip steps=16": {"steps": 16},
}
PRIORS = ("dps", "dds", "ddip")  # those of TUNED that run a model
GUIDED = ("ddip+anatomy",)
MANY_DRAWS = ("dds samples=8", "ddip samples=8")
METHODS = (*TUNED, *GUIDED, *MANY_DRAWS, *ABLATION)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("runs/ddip_quality.jsonl"), help="where rows are kept")
    parser.add_argument("--prior", default="petdiffusion-prior")
    parser.add_argument("--methods", nargs="+", default=[*TUNED, *GUIDED], choices=METHODS)
    parser.add_argument("--bodies", nargs="+", help="only bodies whose names hold one of these words")
    parser.add_argument("--realisations", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", type=Path, help="keep the volumes of realisation 0 and a picture of them here")
    parser.add_argument("--spread", choices=("tuning", "test"), help="judge the stated spread on these bodies instead")
    parser.add_argument("--table", action="store_true", help="only print the table of the rows there are")
    arguments = parser.parse_args()
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    if arguments.spread:
        bodies = tuning_bodies() if arguments.spread == "tuning" else test_bodies()
        print_spread(arguments, _chosen(arguments, bodies))
        return
    if not arguments.table:
        run(arguments)
    print(table(read_rows(arguments.rows, weights_of(arguments.prior))))


def run(arguments: argparse.Namespace) -> None:
    """Make the rows that are not in the file yet."""
    chosen = tuned(arguments)
    known = read_rows(arguments.rows, weights_of(arguments.prior))
    done = {(row["body"], row["realisation"], row["method"]) for row in known}
    for body in _chosen(arguments, test_bodies()):
        keys = [(body.name, r, method) for r in range(arguments.realisations) for method in arguments.methods]
        missing = [key for key in keys if key not in done]
        study = study_of(body) if missing else None
        for _, realisation, method in missing:
            assert study is not None
            row, image = measured(arguments, body, study, realisation, method, chosen)
            with open(arguments.rows, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            if arguments.pictures and realisation == 0:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                np.save(arguments.pictures / f"{body.name} {method}.npy", image)
            print(f"{body.name} {realisation} {method}: {row['psnr']:.2f} dB, {row['cpu_s']:.1f} s", flush=True)
        if arguments.pictures and study is not None:
            _draw(arguments.pictures, body, study)


def weights_of(prior: str) -> dict[str, str]:
    """The sha256 of the weights that methods with a prior run with."""
    return dict.fromkeys((name for name in METHODS if _kind(name) in PRIORS), find_model(prior).sha256)


def _chosen(arguments: argparse.Namespace, bodies: list[Body]) -> list[Body]:
    words = arguments.bodies or [""]
    return [body for body in bodies if any(word in body.name for word in words)]


def tuned(arguments: argparse.Namespace) -> dict[str, float]:
    """Each method's best parameter on the tuning bodies by mean PSNR; kept in a file beside the rows."""
    path = arguments.rows.with_suffix(".tuned.json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    needed = {_kind(method) for method in arguments.methods}
    missing = [method for method in TUNED if method in needed and method not in found]
    studies = [study_of(body) for body in tuning_bodies()] if missing else []
    for method in missing:
        scores = {}
        for value in TUNED[method]:
            images = [reconstructed(arguments, s, s.expected.measured(DRF, seed=0), method, value, 0) for s in studies]
            pairs = zip(studies, images, strict=True)
            scores[value] = float(np.mean([metrics.psnr(s.reference, image, _body(s)) for s, image in pairs]))
            print(f"tuning {method} {value:g}: {scores[value]:.2f} dB", flush=True)
        found[method] = max(scores, key=lambda value: scores[value])
        path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def measured(
    arguments: argparse.Namespace, body: Body, study: Study, realisation: int, method: str, chosen: dict[str, float]
) -> tuple[dict[str, Any], np.ndarray]:
    """Run one method on one sinogram and score it."""
    sinogram = study.expected.measured(DRF, seed=body.seed + realisation)
    value = chosen[_kind(method)]
    started, cpu = time.perf_counter(), time.process_time()
    image = reconstructed(arguments, study, sinogram, method, value, realisation)
    row = {"body": body.name, "realisation": realisation, "method": method, "parameter": value}
    row |= {"seconds": round(time.perf_counter() - started, 2), "cpu_s": round(time.process_time() - cpu, 2)}
    if _kind(method) in PRIORS:
        row["weights"] = find_model(arguments.prior).sha256
    return row | scores_of(study, image), image


def reconstructed(
    arguments: argparse.Namespace, study: Study, sinogram: Sinogram, method: str, value: float, seed: int
) -> np.ndarray:
    """The volume [z, y, x] of a method at a value of its parameter."""
    place = _place(arguments, study)
    if method == "osem+gaussian":
        image = reconstruct(sinogram, "osem", iterations=3, **place).image
        return gaussian(sitk.GetArrayFromImage(image), study.expected.grid.voxel_size_mm, value)
    if method in ("map-em", "rdp"):
        return sitk.GetArrayFromImage(reconstruct(sinogram, method, iterations=15, beta=value, **place).image)
    own = {"guidance": value} if method == "dps" else {"mu": value}
    settings = Settings(**{"method": _kind(method), **own, **ABLATION.get(method, {})})
    more = {"anatomy": study.anatomy if method in GUIDED else None, "samples": 8 if method in MANY_DRAWS else 1}
    return sitk.GetArrayFromImage(_with_prior(arguments, study, sinogram, settings, seed, **more).image)


def _kind(method: str) -> str:
    """The method of TUNED that one of METHODS is a form of."""
    return next(name for name in TUNED if method == name or method.startswith((f"{name} ", f"{name}+")))


def _with_prior(
    arguments: argparse.Namespace, study: Study, sinogram: Sinogram, settings: Settings, seed: int, **more: Any
) -> PriorReconstruction:
    return reconstruct_with_prior(
        sinogram, settings, model=arguments.prior, seed=seed, **_place(arguments, study), **more
    )


def _place(arguments: argparse.Namespace, study: Study) -> dict[str, Any]:
    """What all reconstructions of a study have in common."""
    grid = study.expected.grid
    place = {"shape": grid.shape[::-1], "voxel_mm": grid.voxel_size_mm[0]}
    return place | {"subsets": SUBSETS, "device": arguments.device}


def scores_of(study: Study, image: np.ndarray) -> dict[str, Any]:
    """The figures of one volume against the activity at PET resolution."""
    body, reference = _body(study), study.reference
    ratio = metrics.suv_mean(reference, study.lesion) / metrics.suv_mean(reference, study.background)
    error = (image - reference)[study.background]
    biases = [
        abs(metrics.bias_percent(metrics.suv_mean(reference, organ), metrics.suv_mean(image, organ)))
        for organ in study.organs.values()
        if organ.sum() > 200 and metrics.suv_mean(reference, organ) > 0.3
    ]
    return {
        "psnr": metrics.psnr(reference, image, body),
        "ssim": metrics.ssim(reference, image, body),
        "nrmse": metrics.nrmse(reference, image, body),
        "crc": metrics.contrast_recovery(image, study.lesion, study.background, ratio),
        "noise": float(error.std()) / metrics.suv_mean(reference, study.background),
        "bias": float(np.mean(biases)),
    }


def _body(study: Study) -> np.ndarray:
    return metrics.body_mask(study.reference, study.expected.grid.voxel_size_mm)


def _draw(folder: Path, body: Body, study: Study) -> None:
    """The plane with most of the lesion, of the true activity and of every method whose volume is kept."""
    plane = int(study.lesion.sum((1, 2)).argmax())
    volumes = {"activity": study.reference, "anatomy": sitk.GetArrayFromImage(study.anatomy)}
    kept = {method: folder / f"{body.name} {method}.npy" for method in METHODS}
    volumes |= {method: np.load(path) for method, path in kept.items() if path.exists()}
    black = float(np.quantile(study.reference[plane], 0.998))
    volumes["anatomy"] = volumes["anatomy"] * (black / float(np.quantile(volumes["anatomy"][plane], 0.998)))
    write_gallery(folder / f"{body.name}.png", list(volumes), [([volume[plane] for volume in volumes.values()], black)])


def print_spread(arguments: argparse.Namespace, bodies: list[Body]) -> None:
    """Print the share of body voxels within 1.96 sd of DDIP's mean, and the factor that makes it 95 %.

    The card's `spread_factor` comes from the tuning bodies; what is said of it, from the test bodies.
    """
    mu = tuned(arguments)["ddip"]
    print(f"body, share within 1.96 sd of {DRAWS_FOR_UNCERTAINTY} draws, factor for 95 %, correlation with the error")
    for body in bodies:
        study = study_of(body)
        sinogram = study.expected.measured(DRF, seed=body.seed)
        result = _with_prior(arguments, study, sinogram, Settings(mu=mu), 0, samples=DRAWS_FOR_UNCERTAINTY)
        mean, sd = (sitk.GetArrayFromImage(one) for one in (result.image, result.uncertainty))
        inside = _body(study)
        share, factor = share_and_factor(study.reference, mean, sd, inside)
        correlation = metrics.error_correlation(study.reference, mean, sd, inside)
        print(f"{body.name}, {share:.3f}, {factor:.2f}, {correlation:.2f}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the realisations, body by body."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["body"], row["method"]].append(row)
    names = ("psnr", "ssim", "nrmse", "crc", "noise", "bias", "cpu_s")
    lines = [f"{'body':30} {'method':18} {'n':>2} " + " ".join(f"{name:>7}" for name in names)]
    for (body, method), group in groups.items():
        means = " ".join(f"{np.mean([row[name] for row in group]):7.3f}" for name in names)
        lines.append(f"{body:30} {method:18} {len(group):2} {means}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
