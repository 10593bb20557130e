"""Phantoms: repeatable, different from seed to seed, and what their names say."""

import warnings

import numpy as np
import pytest

from PETDiffusionLib.errors import PETDiffusionError
from PETDiffusionLib.projection.attenuation import mu_from_hounsfield
from PETDiffusionLib.simulation import PHANTOMS, simulate_study
from PETDiffusionLib.simulation.bodies import Folds, procedural_body
from PETDiffusionLib.simulation.labels import label_phantom, organ_of, read_label_names
from PETDiffusionLib.simulation.mosaics import random_mosaic
from PETDiffusionLib.simulation.nema import SPHERE_DIAMETERS_MM, nema_iq
from PETDiffusionLib.simulation.spots import SPOT_DIAMETERS_MM, random_spots


def named(phantom, name):
    label = next(key for key, known in phantom.label_names.items() if known == name)
    return phantom.labels == label


def test_a_seed_decides_the_body() -> None:
    first, again, other = (procedural_body(seed, "fdg", 560, 60, 4.0) for seed in (1, 1, 2))
    assert np.array_equal(first.activity, again.activity)
    assert not np.array_equal(first.activity, other.activity)


def test_fdg_organs_have_their_uptake() -> None:
    body = procedural_body(3, "fdg", 520, 200, 4.0, lesions=0)
    liver, muscle = (body.activity[named(body, name)].mean() for name in ("liver", "muscle"))
    assert 1.2 < liver < 4.5
    assert muscle < liver
    assert 600 < named(body, "liver").sum() * 0.064 < 2600  # ml


def test_lesions_are_labelled_and_of_5_to_50_mm() -> None:
    body = procedural_body(4, "fdg", 600, 120, 2.5, lesions=10)
    lesions = [name for name in body.label_names.values() if "lesion" in name]
    assert len(lesions) >= 5
    volumes = [named(body, name).sum() * 2.5**3 for name in lesions if named(body, name).any()]
    assert max(volumes) < 4 / 3 * np.pi * 25**3 * 1.6


def test_an_amyloid_negative_brain_is_brighter_in_white_matter_than_in_grey() -> None:
    heads = [procedural_body(seed, "amyloid-negative", 0, 160, 4.0, lesions=0) for seed in range(4)]
    white, grey = (
        np.mean([head.activity[named(head, name)].mean() for head in heads]) for name in ("white matter", "grey matter")
    )
    assert white > 1.2 * grey


def test_deeper_and_wider_folds_leave_less_white_matter() -> None:
    shallow, deep = (
        procedural_body(1, "fdg", 20, 80, 4.0, lesions=0, folds=folds)
        for folds in (Folds(), Folds(reach_mm=60, grey=0.9))
    )
    white = [int(named(head, "white matter").sum()) for head in (shallow, deep)]
    assert white[1] < 0.7 * white[0]
    assert named(deep, "grey matter").sum() > named(shallow, "grey matter").sum()


@pytest.mark.parametrize("seed", range(4))
def test_a_mosaic_is_cells_of_several_tissues_in_a_body(seed) -> None:
    mosaic, again = (random_mosaic(seed, length_mm=60, voxel_mm=4.0) for _ in range(2))
    assert np.array_equal(mosaic.activity, again.activity)
    body = mosaic.labels > 0
    assert 0.2 < body.mean() < 0.9
    assert mosaic.activity[~body].max() == 0 and mosaic.mu[~body].max() == 0
    assert (mosaic.activity[body] > 0).mean() > 0.9  # but for the cores of lesions
    tissues = {name for label, name in mosaic.label_names.items() if (mosaic.labels == label).any()}
    assert len([name for name in tissues if name.startswith("tissue")]) >= 2


@pytest.mark.parametrize("seed", range(4))
def test_spots_are_small_lesions_in_calm_tissue(seed) -> None:
    spots, again = (random_spots(seed, length_mm=80) for _ in range(2))
    assert np.array_equal(spots.activity, again.activity)
    lesions = [name for name in spots.label_names.values() if "lesion" in name]
    volumes = [named(spots, name).sum() * 2.5**3 for name in lesions if named(spots, name).any()]
    assert len(volumes) >= 10
    assert max(volumes) < np.pi / 6 * (1.4 * SPOT_DIAMETERS_MM[1]) ** 3
    assert np.median(volumes) < np.pi / 6 * 20**3
    tissue = spots.activity[named(spots, "background")]
    assert tissue.std() < 0.15 * tissue.mean()


def test_the_nema_spheres_have_their_sizes_and_contrast() -> None:
    phantom = nema_iq(contrast=4.0, voxel_mm=1.0)
    for diameter in SPHERE_DIAMETERS_MM:
        sphere = named(phantom, f"sphere {diameter} mm")
        assert sphere.sum() == pytest.approx(np.pi / 6 * diameter**3, rel=0.1)
        assert np.unique(phantom.activity[sphere]) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        ("kidney_left", "kidney cortex"),
        ("gallbladder", "fat"),
        ("urinary_bladder", "bladder"),
        ("white matter of left cerebral hemisphere", "white matter"),
        ("left lateral ventricle", "csf"),
        ("vertebrae_L3", "marrow"),
        ("gluteus_maximus_left", "muscle"),
        ("left V m", "grey matter"),
        ("left VIIAf v", "grey matter"),
        ("right VIIA crusII l2", "grey matter"),
        ("right angular and supramarginal gyri", "grey matter"),
        ("left superior temporal gyrus (banks of left superior temporal sulcus)", "grey matter"),
        ("left inferior rectus", "muscle"),
        ("left semispinalis capitis", "muscle"),
        ("spinal_cord", "white matter"),
        ("brainstem", "grey matter"),
        ("heart_ventricle_left", "myocardium"),
        ("cortical bone", "cortical bone"),
        ("superior sagittal sinus", "blood"),
        ("lung_upper_lobe_left", "lung"),
        ("right vitreous body", "csf"),
    ],
)
def test_a_labels_name_tells_its_organ(name, organ) -> None:
    assert organ_of(name) == organ


@pytest.mark.parametrize(
    "table", ["labels_torso_TotalSegmentator/label_names.tsv", "labels_brain_head/hncma-atlas-lut.tsv"]
)
def test_every_name_of_the_two_atlases_is_known(shared_data, table) -> None:
    assert [name for name in read_label_names(shared_data / table).values() if organ_of(name) is None] == []


def test_names_of_no_organ_are_told_and_become_muscle() -> None:
    import SimpleITK as sitk

    values = np.zeros((12, 20, 20), np.uint8)
    values[2:10, 4:16, 4:10], values[2:10, 4:16, 10:16] = 1, 2
    names = {1: "implant", 2: "liver"}
    with pytest.warns(UserWarning, match=r"by the name of implant: the uptake of muscle"):
        label_phantom(sitk.GetImageFromArray(values), names, lesions=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        label_phantom(sitk.GetImageFromArray(values), names, lesions=0, uptake={"implant": 0.1})


def test_attenuation_from_ct_numbers() -> None:
    mu = mu_from_hounsfield(np.array([-1000.0, 0.0, 1000.0]))
    assert mu == pytest.approx([0.0, 0.0096, 0.0147], abs=2e-4)


def test_the_torso_labels_come_to_life(shared_data) -> None:
    import SimpleITK as sitk

    folder = shared_data / "labels_torso_TotalSegmentator"
    labels = sitk.ReadImage(str(folder / "example_seg_fast_force_split.nii.gz"))
    ct = sitk.ReadImage(str(folder / "example_ct.nii.gz"), sitk.sitkFloat32)
    names = read_label_names(folder / "label_names.tsv")
    phantom = label_phantom(labels, names, "dotatate", 0, ct, voxel_mm=4.0, lesions=0)
    spleen, muscle = (phantom.activity[named(phantom, name)].mean() for name in ("spleen", "gluteus_maximus_left"))
    assert spleen > 8 * muscle
    assert phantom.mu[named(phantom, "hip_left")].mean() > phantom.mu[named(phantom, "gluteus_maximus_left")].mean()


def test_a_study_has_one_geometry_and_says_how_it_was_made() -> None:
    study = simulate_study("shapes", 20, seed=1)
    images = (study.low_dose, study.reference, study.phantom, study.labels)
    assert len({(i.GetSize(), i.GetSpacing(), i.GetOrigin()) for i in images}) == 1
    assert study.facts["drf"] == 20
    assert study.facts["scanner"]["voxel_mm"] == study.low_dose.GetSpacing()[0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"phantom": "nobody", "drf": 4}, "no-phantom"),
        ({"phantom": "shapes", "drf": 0.5}, "bad-drf"),
        ({"phantom": "shapes", "drf": 4, "scanner": "x"}, "no-scanner"),
        ({"phantom": "shapes", "drf": 4, "tracer": "x"}, "no-tracer"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(arguments, code) -> None:
    with pytest.raises(PETDiffusionError) as caught:
        simulate_study(**arguments)
    assert caught.value.code == code


def test_every_named_phantom_can_be_made() -> None:
    for name in ("chest", "head", "nema-iq"):
        phantom = PHANTOMS[name](0, "fdg")
        assert phantom.activity.max() > 0
        assert phantom.mu.max() < 0.03
