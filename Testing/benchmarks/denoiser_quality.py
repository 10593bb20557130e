"""Quality against the classical denoisers, on bodies never seen: `python -m Testing.benchmarks.denoiser_quality`.

Every row is one body, dose, noise realisation and method; rows are kept in a file and never made twice, so a run that
was stopped goes on. `--table` prints the summary, `--card` writes it into the model's card.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from functools import cache, lru_cache, partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.catalogue.denoise import BUNDLED_MODEL, PRESETS
from PETDiffusionLib.methods.denoise import denoise
from PETDiffusionLib.models import find_model
from Testing.benchmarks import baselines
from Testing.benchmarks.bodies import DRFS, Body, Scanned, as_image, scanned, test_bodies, tuning_bodies
from Testing.benchmarks.rows import read_rows

LEAST_ORGAN_ML, LEAST_ORGAN_SUV = 4.0, 0.5
LEAST_LESION_ML = 0.3
# The classical methods, and the forms of each of which the better one on the tuning bodies is run.
FORMS = {"gaussian": ("gaussian",), "nlm": ("nlm",), "bm4d": ("bm4d", "bm4d-correlated")}
METHODS = ("low dose", *FORMS, *PRESETS)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("runs/denoiser_quality.jsonl"), help="where rows are kept")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--model", default=BUNDLED_MODEL)
    parser.add_argument("--bodies", type=int, help="only the first so many bodies")
    parser.add_argument("--realisations", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=2, help="threads of each process")
    parser.add_argument("--table", action="store_true", help="only print the table of the rows there are")
    parser.add_argument("--card", action="store_true", help="write the summary into the model's card")
    arguments = parser.parse_args()
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        run(arguments)
    rows = read_rows(arguments.rows, weights_of(arguments.model))
    print(table(rows))
    print(margins(rows))
    if arguments.card:
        write_card(arguments.model, rows)


def run(arguments: argparse.Namespace) -> None:
    """Make the rows that are not in the file yet: all bodies and doses of one realisation, then the next."""
    known = read_rows(arguments.rows, weights_of(arguments.model))
    done = {(row["body"], row["drf"], row["realisation"], row["method"]) for row in known}
    tasks = []
    for realisation in range(arguments.realisations):
        for body in test_bodies()[: arguments.bodies]:
            for drf in DRFS:
                missing = [m for m in arguments.methods if (body.name, drf, realisation, m) not in done]
                if missing:
                    tasks.append((body.name, drf, realisation, missing))
    with get_context("spawn").Pool(arguments.workers, torch.set_num_threads, (arguments.threads,)) as pool:
        parameters = tuned(arguments.rows.with_suffix(".tuned.json"), classical(arguments.methods), pool)
        make = partial(made_rows, parameters=parameters, model=arguments.model)
        for rows in pool.imap_unordered(make, tasks):
            with open(arguments.rows, "a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in rows)


def weights_of(model: str) -> dict[str, str]:
    """The sha256 of the weights that our methods run with."""
    return dict.fromkeys(PRESETS, find_model(model).sha256)


def classical(methods: list[str]) -> list[str]:
    """Those of `methods` that have a parameter to tune."""
    return [method for method in methods if method in FORMS]


def made_rows(task: tuple[str, int, int, list[str]], parameters: dict, model: str) -> list[dict[str, Any]]:
    """The rows of one body, dose and realisation."""
    name, drf, realisation, methods = task
    body, study = study_of(name)
    return [measured(body, study, drf, realisation, method, parameters, model) for method in methods]


@lru_cache(maxsize=2)
def study_of(name: str) -> tuple[Body, Scanned]:
    """A test body and its scans, kept for the next task."""
    body = next(body for body in test_bodies() if body.name == name)
    return body, scanned(body)


def tuned(path: Path, methods: list[str], pool: Pool) -> dict[str, dict[str, Any]]:
    """The classical `methods`' forms and parameters by DRF, chosen on the tuning bodies; kept in a file."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [(drf, method) for drf in DRFS for method in methods if method not in found.get(str(drf), {})]
    for drf, method, form, value in pool.imap_unordered(tune, missing):
        found.setdefault(str(drf), {})[method] = [form, value]
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"DRF {drf}: {method} at its best is {form} {value}", flush=True)
    return found


def tune(task: tuple[int, str]) -> tuple[int, str, str, float]:
    """The best form and parameter of one classical method at one dose."""
    drf, method = task
    pairs = [(study.low_dose[drf, 0], study.reference, study.voxel_size_mm) for study in tuning_studies()]
    chosen = baselines.tuned_parameters(pairs, FORMS[method])
    best = max(chosen, key=lambda form: baselines.mean_psnr(form, chosen[form], pairs))
    if chosen[best] in (baselines.BASELINES[best].values[0], baselines.BASELINES[best].values[-1]):
        print(f"DRF {drf}: {best} is best at {chosen[best]}, an end of the values tried: try further ones", flush=True)
    return drf, method, best, chosen[best]


@cache
def tuning_studies() -> list[Scanned]:
    """The scans that the classical methods are tuned on."""
    return [scanned(body, realisations=1) for body in tuning_bodies()]


def measured(
    body: Body, study: Scanned, drf: int, realisation: int, method: str, parameters: dict, model: str
) -> dict[str, Any]:
    """Run one method on one volume and score it."""
    low = study.low_dose[drf, realisation]
    started = time.perf_counter()
    uncertainty = None
    if method == "low dose":
        image = low
    elif method in FORMS:
        name, value = parameters[str(drf)][method]
        image = baselines.apply(name, low, study.voxel_size_mm, value)
    else:
        result = denoise(as_image(low, study.voxel_size_mm), preset=method, model=model, seed=realisation)
        image, uncertainty = (array_of(i) for i in (result.image, result.uncertainty))
    seconds = round(time.perf_counter() - started, 2)
    row = {"body": body.name, "drf": drf, "realisation": realisation, "method": method, "seconds": seconds}
    if method in PRESETS:
        row["weights"] = find_model(model).sha256
    return row | scores(study, image, uncertainty)


def array_of(image: Any) -> np.ndarray:
    """The image's values [z, y, x]."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image)


def scores(study: Scanned, image: np.ndarray, uncertainty: np.ndarray | None) -> dict[str, Any]:
    """The figures of one volume, in the body, against the noise-free reconstruction."""
    body = metrics.body_mask(study.reference, study.voxel_size_mm)
    millilitres = np.prod(study.voxel_size_mm) / 1000
    figures: dict[str, Any] = {
        "psnr": metrics.psnr(study.reference, image, body),
        "ssim": metrics.ssim(study.reference, image, body),
        "nrmse": metrics.nrmse(study.reference, image, body),
        "organs": {},
        "lesions": {},
    }
    for label, name in study.label_names.items():
        region = study.labels == label
        volume = region.sum() * millilitres
        reference = metrics.suv_mean(study.reference, region) if region.any() else 0.0
        if name.startswith("hot lesion") and volume >= LEAST_LESION_ML:
            figures["lesions"][name] = metrics.recovery(study.reference, image, region)
        elif "lesion" not in name and volume >= LEAST_ORGAN_ML and reference >= LEAST_ORGAN_SUV:
            figures["organs"][name] = metrics.bias_percent(reference, metrics.suv_mean(image, region))
    if uncertainty is not None:
        hot = np.isin(
            study.labels, [label for label, name in study.label_names.items() if name.startswith("hot lesion")]
        )
        figures["lesion_coverage"] = metrics.coverage(study.reference, image, uncertainty, hot)
        figures["coverage"] = metrics.coverage(study.reference, image, uncertainty, body)
        figures["error_correlation"] = metrics.error_correlation(study.reference, image, uncertainty, body)
    return figures


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over bodies and realisations: {drf: {method: figures}}."""
    groups: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for row in rows:
        groups[row["drf"], row["method"]].append(row)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for drf in DRFS:
        for method in METHODS:
            group = groups.get((drf, method))
            if group:
                report.setdefault(str(drf), {})[method] = _mean_figures(group)
    return report


def _mean_figures(group: list[dict[str, Any]]) -> dict[str, float]:
    figures = {name: float(np.mean([row[name] for row in group])) for name in ("psnr", "ssim", "nrmse", "seconds")}
    biases: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in group:
        for organ, value in row["organs"].items():
            biases[row["body"], organ].append(value)
    by_organ = np.asarray([np.mean(values) for values in biases.values()])
    figures["organ_bias"] = float(np.abs(by_organ).mean())
    figures["signed_organ_bias"] = float(by_organ.mean())
    figures["organs_within_3"] = float((np.abs(by_organ) <= 3).mean())
    figures["lesion_recovery"] = float(np.mean([value for row in group for value in row["lesions"].values()]))
    figures["volumes"] = len(group)
    for name in ("coverage", "error_correlation", "lesion_coverage"):
        if name in group[0]:
            figures[name] = float(np.mean([row[name] for row in group]))
    return {name: round(value, 4) for name, value in figures.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """The summary as text."""
    bodies, realisations = len({row["body"] for row in rows}), len({row["realisation"] for row in rows})
    lines = [f"{bodies} bodies, up to {realisations} noise realisations (n volumes); PSNR and SSIM at 10 SUV in the "]
    lines[0] += "body, against the noise-free reconstruction"
    lines.append(
        "DRF  method       n    PSNR    SSIM   NRMSE  organ |bias| %  signed %  within 3 %  lesion SUVmax  coverage"
        "  corr.  in lesions  s"
    )
    for drf, methods in summary(rows).items():
        for method, f in methods.items():
            said = " " * 28
            if "coverage" in f:
                said = f"{f['coverage']:9.3f} {f['error_correlation']:6.2f} {f['lesion_coverage']:11.3f}"
            lines.append(
                f"{drf:>3}  {method:<10} {f['volumes']:3.0f}  {f['psnr']:6.2f}  {f['ssim']:.4f}  {f['nrmse']:.4f}"
                f"  {f['organ_bias']:13.2f}  {f['signed_organ_bias']:8.2f}  {f['organs_within_3']:10.2f}"
                f"  {f['lesion_recovery']:13.3f} {said}"
                f"  {f['seconds']:.1f}"
            )
    return "\n".join(lines)


def margins(rows: list[dict[str, Any]]) -> str:
    """PSNR of the last preset over the best classical method, body by body, as text."""
    psnr: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for row in rows:
        psnr[row["body"], row["drf"], row["method"]].append(row["psnr"])
    means = {key: float(np.mean(values)) for key, values in psnr.items()}
    ours = list(PRESETS)[-1]
    lines = [f"PSNR of {ours} over the best classical one at DRF {', '.join(map(str, DRFS))}:"]
    for body in sorted({body for body, _, _ in means}):
        best = {drf: [means[body, drf, m] for m in FORMS if (body, drf, m) in means] for drf in DRFS}
        known = [drf for drf in DRFS if best[drf] and (body, drf, ours) in means]
        lines.append(f"{body:<28}" + "".join(f"  {means[body, drf, ours] - max(best[drf]):+.2f}" for drf in known))
    return "\n".join(lines)


def write_card(model: str, rows: list[dict[str, Any]]) -> None:
    """Put the summary into the card's figures."""
    card = find_model(model)
    document = card.to_json()
    document["figures"]["quality"] = {
        "what": table(rows).splitlines()[0],
        "command": "python -m Testing.benchmarks.denoiser_quality --card",
        "by_drf": summary(rows),
    }
    card.path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
