"""Restored sinograms against each other, after reconstruction: `python -m Testing.benchmarks.red_quality`.

Bodies never seen are projected to parallel beams, counted at a fraction of the dose and reconstructed by one OSEM:
as they are, with the best Gaussian (tuned per dose on other bodies), with the bundled denoiser, and from sinograms that
were restored by a U-Net, by RED (with its DCN and without) and by the count bridge. Everything is compared with the
same OSEM of noise-free data. Rows are kept in a file and never made twice, so a run that was stopped goes on.

`--red OUT` is the folder of `petdiffusion train red` (stages ren, dcn and unet), `--counts` a model's id or card.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from PETDiffusionLib.diffusion.sinogram_restoration import CountRestoration, restored_by_red
from PETDiffusionLib.evaluation import metrics
from PETDiffusionLib.methods.catalogue.red import RED
from PETDiffusionLib.methods.denoise import denoise
from PETDiffusionLib.methods.red import DRAW_STEPS
from PETDiffusionLib.models import find_model, load_weights
from PETDiffusionLib.networks.precision import FastPrecision
from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D
from PETDiffusionLib.projection.choice import make_projector
from PETDiffusionLib.reconstruction import osem
from PETDiffusionLib.simulation.sinogram import ExpectedSinogram, project_phantom
from PETDiffusionLib.sinograms.geometry import parallel_beam
from PETDiffusionLib.sinograms.grid import ImageGrid
from PETDiffusionLib.sinograms.orientation import in_scanner_order
from PETDiffusionLib.sinograms.sinogram import Sinogram
from PETDiffusionLib.training.red import network_of
from Testing.benchmarks.baselines import gaussian
from Testing.benchmarks.bodies import Body, test_bodies, tuning_bodies
from Testing.benchmarks.gallery import write_gallery
from Testing.benchmarks.rows import read_rows
from Testing.benchmarks.spread import share_and_factor

DRFS = (4, 20, 100)
SIZE, VOXEL_MM, VIEWS, PLANES = 96, 4.3, 88, 16
GRID = ImageGrid((PLANES, SIZE, SIZE), (VOXEL_MM, VOXEL_MM, VOXEL_MM))
ITERATIONS, SUBSETS = 3, 11
GAUSSIANS_MM = (3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20)
METHODS = ("osem", "gaussian", "denoiser", "unet", "ren", "red", "counts")
STEPS = (20, 10, 5, 1)  # of REN and RED besides their 50, and of draws on the count bridge
WALKS = tuple(f"{method} {steps}" for method in ("ren", "red", "draw") for steps in STEPS)
LEAST_LESION_ML, LEAST_CONTRAST, BACKGROUND_ML = 0.5, 1.5, 4.0

Method = Callable[[Sinogram, int], np.ndarray]
Restoration = Callable[[Sinogram], torch.Tensor]


@dataclass(frozen=True)
class Study:
    """A body's expected sinogram and the OSEM of its noise-free data, [z, y, x] in SUV."""

    expected: ExpectedSinogram
    reference: np.ndarray


class Bench:
    """The projector and the networks, on one device; `methods` maps names to functions of (sinogram, realisation)."""

    def __init__(self, red: Path | None, width: int, counts: str | None, denoiser: str, device: torch.device) -> None:
        self.device = device
        self.geometry = parallel_beam(VIEWS, SIZE, VOXEL_MM, PLANES, VOXEL_MM)
        self.projector = make_projector(self.geometry, GRID.shape, GRID.voxel_size_mm, device=device)
        self.weights = weights_of(counts, denoiser)
        self.methods: dict[str, Method] = {"osem": lambda data, seed: self.osem(data)}
        self.methods["denoiser"] = lambda data, seed: _denoised(self.osem(data), denoiser, seed)
        self.walks: dict[str, Restoration] = {}
        if red is not None:
            ren, dcn, unet = (self._fast(network_of(red / stage, width)) for stage in ("ren", "dcn", "unet"))
            self.walks["unet"] = partial(restored_by_red, ren=unet, dcn=None, steps=1)
            self.walks["ren"] = partial(restored_by_red, ren=ren, dcn=None)
            self.walks["red"] = partial(restored_by_red, ren=ren, dcn=dcn)
            for steps in STEPS:
                self.walks[f"ren {steps}"] = partial(restored_by_red, ren=ren, dcn=None, steps=steps)
                self.walks[f"red {steps}"] = partial(restored_by_red, ren=ren, dcn=dcn, steps=steps)
        if counts is not None:
            card = find_model(counts)
            network = ResidualUNet3D(**card.architecture["arguments"])
            network.load_state_dict(load_weights(card))
            self.network = self._fast(network.eval())
            self.spread_factor = float(card.architecture.get("spread_factor", 1.0))
            self.walks["counts"] = lambda data: self._bridge(data).mean()
            for steps in STEPS:
                self.methods[f"draw {steps}"] = partial(self._drawn, steps)
        for name, walk in self.walks.items():
            self.methods[name] = partial(self._restored, walk)

    def _fast(self, network: torch.nn.Module) -> FastPrecision:
        return FastPrecision(network.to(self.device))

    def osem(self, sinogram: Sinogram) -> np.ndarray:
        """The reconstruction that all have in common."""
        return osem(self.projector, sinogram, ITERATIONS, SUBSETS).cpu().numpy()

    def study(self, body: Body) -> Study:
        """Project a body at full dose."""
        expected = project_phantom(body.make(), self.geometry, GRID, self.projector)
        return Study(expected, self.osem(expected.measured(seed=None)))

    def _bridge(self, sinogram: Sinogram) -> CountRestoration:
        return CountRestoration(sinogram, self.projector, GRID.voxel_size_mm, self.network)

    def _restored(self, restore: Restoration, sinogram: Sinogram, seed: int) -> np.ndarray:
        return self.osem(_replaced(sinogram, restore(sinogram)))

    def _drawn(self, steps: int, sinogram: Sinogram, seed: int) -> np.ndarray:
        return self.osem(_replaced(sinogram, self._bridge(sinogram).draw(steps, seed)))


def weights_of(counts: str | None, denoiser: str) -> dict[str, str]:
    """The sha256 of the weights that methods of named models run with."""
    weights = {"denoiser": find_model(denoiser).sha256}
    if counts is not None:
        weights |= dict.fromkeys(["counts", *(f"draw {steps}" for steps in STEPS)], find_model(counts).sha256)
    return weights


def _replaced(sinogram: Sinogram, prompts: torch.Tensor) -> Sinogram:
    return Sinogram(sinogram.geometry, prompts, sinogram.multiplicative, sinogram.additive, sinogram.corrected)


def _denoised(image: np.ndarray, model: str, seed: int) -> np.ndarray:
    import SimpleITK as sitk

    result = denoise(GRID.to_image(image), preset="fast", model=model, seed=seed)
    return in_scanner_order(sitk.GetArrayFromImage(result.image), GRID.position)


def tuned_gaussians(bench: Bench, path: Path) -> dict[str, float]:
    """The FWHM by DRF that is best for OSEM on the tuning bodies; kept in a file."""
    if path.exists():
        return json.loads(path.read_text())
    totals = {drf: np.zeros(len(GAUSSIANS_MM)) for drf in DRFS}
    for body in tuning_bodies():
        study = bench.study(body)
        inside = metrics.body_mask(study.reference, GRID.voxel_size_mm)
        for drf in DRFS:
            image = bench.osem(study.expected.measured(drf, seed=body.seed))
            filtered = (gaussian(image, GRID.voxel_size_mm, fwhm) for fwhm in GAUSSIANS_MM)
            totals[drf] += [metrics.psnr(study.reference, one, inside) for one in filtered]
    best = {str(drf): float(GAUSSIANS_MM[int(total.argmax())]) for drf, total in totals.items()}
    path.write_text(json.dumps(best) + "\n")
    return best


def scores(study: Study, image: np.ndarray) -> dict[str, Any]:
    """The figures of one image against the noise-free reconstruction; lesions against the true contrast."""
    reference, labels = study.reference, study.expected.labels
    inside = metrics.body_mask(reference, GRID.voxel_size_mm)
    millilitres = VOXEL_MM**3 / 1000
    lesions, noise, largest = [], float("nan"), BACKGROUND_ML
    for label, name in study.expected.label_names.items():
        region = labels == label
        volume = region.sum() * millilitres
        if name.startswith("hot lesion") and volume >= LEAST_LESION_ML:
            around = ndimage.binary_dilation(region, iterations=4) & ~ndimage.binary_dilation(region, iterations=2)
            ratio = metrics.suv_mean(study.expected.truth, region) / metrics.suv_mean(study.expected.truth, around)
            if ratio >= LEAST_CONTRAST:
                lesions.append(metrics.contrast_recovery(image, region, around, ratio))
        elif "lesion" not in name and volume > largest and metrics.suv_mean(reference, region) > 0.5:
            largest = volume
            noise = float(np.std((image - reference)[region])) / metrics.suv_mean(reference, region)
    return {
        "psnr": metrics.psnr(reference, image, inside),
        "ssim": metrics.ssim(reference, image, inside),
        "nrmse": metrics.nrmse(reference, image, inside),
        "crc": float(np.mean(lesions)) if lesions else None,
        "noise": noise,
    }


def _bench(arguments: argparse.Namespace) -> Bench:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Bench(arguments.red, arguments.width, arguments.counts, arguments.denoiser, device)


def run(arguments: argparse.Namespace) -> None:
    """Make the rows that are not in the file yet: all bodies and doses of one realisation, then the next."""
    bench = _bench(arguments)
    fwhm = tuned_gaussians(bench, arguments.rows.with_suffix(".tuned.json"))
    known = read_rows(arguments.rows, bench.weights)
    done = {(row["body"], row["drf"], row["realisation"], row["method"]) for row in known}
    bodies = test_bodies()[: arguments.bodies]
    studies: dict[str, Study] = {}
    for realisation in range(arguments.realisations):
        methods = [*arguments.methods, *(WALKS if arguments.walks and realisation == 0 else ())]
        for body in bodies:
            for drf in DRFS:
                missing = [name for name in methods if (body.name, drf, realisation, name) not in done]
                if not missing:
                    continue
                if body.name not in studies:
                    studies[body.name] = bench.study(body)
                study = studies[body.name]
                data = study.expected.measured(drf, seed=body.seed + 1000 * realisation).to(bench.device)
                with open(arguments.rows, "a", encoding="utf-8") as stream:
                    for name in missing:
                        row = {"body": body.name, "drf": drf, "realisation": realisation, "method": name}
                        row |= measured(bench, study, data, name, realisation, fwhm[str(drf)])
                        stream.write(json.dumps(row) + "\n")


def measured(bench: Bench, study: Study, data: Sinogram, name: str, seed: int, fwhm_mm: float) -> dict[str, Any]:
    """Run one method on one sinogram, time it and score it."""
    started = time.perf_counter()
    if name == "gaussian":
        image = gaussian(bench.osem(data), GRID.voxel_size_mm, fwhm_mm)
    else:
        image = bench.methods[name](data, seed)
    seconds = round(time.perf_counter() - started, 3)
    made_with = {"weights": bench.weights[name]} if name in bench.weights else {}
    return {"seconds": seconds} | made_with | scores(study, image)


def spread_of_draws(bench: Bench, bodies: list[Body]) -> None:
    """Print the share of body voxels within 1.96 sd of the posterior mean's volume, and the factor that makes it 95 %.

    The card's `spread_factor` comes from the tuning bodies; what is said of it, from the test bodies.
    """
    draws, drawn = RED.options["draws"].default, bench.methods[f"draw {DRAW_STEPS}"]
    print(f"body, DRF, share within 1.96 sd of {draws} draws of {DRAW_STEPS} steps, and the factor for 95 %")
    for body in bodies:
        study = bench.study(body)
        inside = metrics.body_mask(study.reference, GRID.voxel_size_mm)
        for drf in DRFS:
            data = study.expected.measured(drf, seed=body.seed).to(bench.device)
            mean = bench.methods["counts"](data, 0)
            sd = bench.spread_factor * np.std([drawn(data, number) for number in range(draws)], axis=0, ddof=1)
            share, factor = share_and_factor(study.reference, mean, sd, inside)
            print(f"{body.name}, {drf}, {share:.3f}, {factor:.2f}", flush=True)


def picture(bench: Bench, path: Path, drf: int) -> None:
    """One plane of the first body: its sinogram and its volume, at low dose, restored in each way, and noise-free."""
    body = test_bodies()[0]
    study = bench.study(body)
    data = study.expected.measured(drf, seed=body.seed).to(bench.device)
    ways = {name: walk for name, walk in bench.walks.items() if name in METHODS}
    sinograms = {"low dose": data.prompts, **{name: walk(data) for name, walk in ways.items()}}
    sinograms["noise-free"] = study.expected.measured(drf, seed=None).prompts
    images = {name: bench.osem(_replaced(data, prompts)) for name, prompts in sinograms.items()}
    plane = PLANES // 2
    rows = []
    for shown, truth in ((sinograms, sinograms["noise-free"][plane].cpu()), (images, study.reference[plane])):
        planes = [np.asarray(torch.as_tensor(one)[plane].cpu()) for one in shown.values()]
        rows.append((planes, float(np.quantile(truth, 0.998))))
    write_gallery(path, list(sinograms), rows)
    print(f"{path}: {body.name}, DRF {drf}; sinograms above, volumes below")


def table(rows: list[dict[str, Any]]) -> str:
    """Means over bodies and realisations, and the gain over OSEM in those same volumes, where it has its rows."""
    groups: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for row in rows:
        groups[row["drf"], row["method"]].append(row)
    osem_psnr = {(r["body"], r["drf"], r["realisation"]): r["psnr"] for r in rows if r["method"] == "osem"}
    bodies, realisations = len({row["body"] for row in rows}), len({row["realisation"] for row in rows})
    lines = [f"{bodies} bodies, {realisations} noise realisations; in the body, against OSEM of noise-free data"]
    lines.append("DRF  method     n    PSNR   gain    SSIM   NRMSE    CRC   noise       s")
    for drf in DRFS:
        for method in (*METHODS, *WALKS):
            group = groups.get((drf, method))
            if not group:
                continue
            gain = np.nanmean([r["psnr"] - osem_psnr.get((r["body"], drf, r["realisation"]), np.nan) for r in group])
            mean = {k: np.mean([r[k] for r in group]) for k in ("psnr", "ssim", "nrmse", "seconds")}
            crc, noise = (np.nanmean([np.nan if r[k] is None else r[k] for r in group]) for k in ("crc", "noise"))
            lines.append(
                f"{drf:>3}  {method:<9} {len(group):>2}  {mean['psnr']:6.2f} {gain:+6.2f}  {mean['ssim']:.4f}  "
                f"{mean['nrmse']:.4f}  {crc:.3f}  {noise:.4f}  {mean['seconds']:6.2f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("runs/red_quality.jsonl"), help="where rows are kept")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=(*METHODS, *WALKS))
    parser.add_argument("--walks", action="store_true", help="also walks and draws in fewer steps, realisation 0")
    parser.add_argument("--red", type=Path, help="the folder of `petdiffusion train red`")
    parser.add_argument("--width", type=int, default=32, help="the width that RED was trained with")
    parser.add_argument("--counts", help="a model of the count bridge: its id, or the path of its card")
    parser.add_argument("--denoiser", default="petdiffusion-denoiser")
    parser.add_argument("--bodies", type=int, help="only the first so many bodies")
    parser.add_argument("--realisations", type=int, default=3)
    parser.add_argument("--picture", type=Path, help="write a picture of a plane instead, at --drf")
    parser.add_argument("--drf", type=int, default=20)
    parser.add_argument("--spread", choices=("tuning", "test"), help="judge the stated spread on these bodies instead")
    parser.add_argument("--table", action="store_true", help="only print the table of the rows there are")
    arguments = parser.parse_args()
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    if arguments.picture:
        picture(_bench(arguments), arguments.picture, arguments.drf)
        return
    if arguments.spread:
        bodies = tuning_bodies() if arguments.spread == "tuning" else test_bodies()
        spread_of_draws(_bench(arguments), bodies[: arguments.bodies])
        return
    if not arguments.table:
        run(arguments)
    print(table(read_rows(arguments.rows, weights_of(arguments.counts, arguments.denoiser))))


if __name__ == "__main__":
    main()
