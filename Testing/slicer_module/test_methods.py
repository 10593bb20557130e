"""The methods beside the bundled denoiser, each once in the panel: the real engine with a small untrained model."""

import numpy as np
import pytest
import slicer
from driving import click, methodOption, until
from files import matrixOf

TRAINING = dict.fromkeys(("tracers", "dose_range", "data", "command", "seed", "steps", "date"), "none")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a 3D DDPM, a prior and a restorer of sinograms, which were never trained."""
    import torch

    from PETDiffusionLib.diffusion.count_bridge import CHANNELS
    from PETDiffusionLib.diffusion.prior import NETWORK_ARGUMENTS
    from PETDiffusionLib.models.writing import write_model
    from PETDiffusionLib.networks.ddpm3d import DDPM3D
    from PETDiffusionLib.networks.residual_unet3d import ResidualUNet3D

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("methods")
    small = {"base": 32, "multipliers": [1, 1], "blocks": 1}
    thin = {"out_channels": 1, "widths": [8, 8, 8], "blocks": [1, 1, 1]}
    prior, restorer = {**thin, **NETWORK_ARGUMENTS}, {"in_channels": CHANNELS, **thin}
    networks = {
        "denoise-ddpm3d": ({"name": "ddpm3d", "arguments": small}, DDPM3D(**small)),
        "prior": ({"name": "residual_unet3d", "arguments": prior}, ResidualUNet3D(**prior)),
        "restore-sinogram": (
            {"name": "residual_unet3d", "arguments": restorer, "process": "count-bridge"},
            ResidualUNet3D(**restorer),
        ),
    }
    for task, (architecture, network) in networks.items():
        card = {
            "id": f"untrained-{task}",
            "version": "1",
            "task": task,
            "title": "Never trained",
            "architecture": architecture,
            "input": {"unit": "suvbw", "scale": 4.0, "voxel_size_mm": [4.0, 4.0, 4.0]},
            "training": {**TRAINING, "tracers": ["FDG-like"], "dose_range": [], "voxel_size_range_mm": [5.0, 6.0]},
            "figures": {},
            "citation": "none",
        }
        write_model(folder, network.state_dict(), card)
    return folder


@pytest.fixture
def panel(panel, module, models):
    """The panel over the real engine with these models."""
    module.settings.save(modelsFolder=str(models))
    panel.offers.info = None
    panel.offers.ask()
    until(lambda: panel.offers.info)
    return panel


def run(panel):
    click(panel.ui.applyButton)
    until(lambda: not panel.logic.job)
    assert panel.ui.statusLabel.text.startswith("Done"), panel.ui.statusLabel.text
    return panel._parameterNode.denoisedVolume


def test_the_3d_ddpm(panel, volume) -> None:
    node = panel._parameterNode
    node.inputVolume, node.method = volume, "ddpm3d"
    assert node.model == "untrained-denoise-ddpm3d" and panel.ui.presetSelector.currentText == "Balanced"
    methodOption(panel, "Sampler").currentText = "ddim"
    methodOption(panel, "Steps").value = 2
    panel.ui.samplesSpinBox.value = 2
    denoised = run(panel)
    assert denoised.GetName() == "PET denoised" and matrixOf(denoised) == matrixOf(volume)
    assert slicer.util.arrayFromVolume(node.uncertaintyVolume).max() > 0 and node.table.GetNumberOfRows() == 1


def test_reconstruction_with_a_prior_warns_where_the_prior_does_not_fit(panel, sinogram) -> None:
    node = panel._parameterNode
    node.method, node.sinogramPath = "ddip", str(sinogram)
    assert panel.ui.uncertaintyCheckBox.isVisible()
    node.model = "untrained-prior"
    assert panel.ui.modelLabel.text.endswith("Trained on FDG-like.")  # a prior knows no dose
    methodOption(panel, "Steps").value = 2
    methodOption(panel, "Inner steps").value = 1
    methodOption(panel, "Tracer").text = "amyloid"
    panel.ui.samplesSpinBox.value = 2
    volume = run(panel)
    assert volume.GetName() == "block DDIP" and np.isfinite(slicer.util.arrayFromVolume(volume)).all()
    assert node.uncertaintyVolume.GetName() == "block uncertainty"
    assert "amyloid" in panel.ui.warningLabel.text and panel.ui.warningLabel.isVisible()
    assert panel.ui.compareButton.enabled


def test_restoring_the_sinogram_before_it_is_reconstructed(panel, sinogram) -> None:
    node = panel._parameterNode
    node.method, node.sinogramPath = "red", str(sinogram)
    assert "restore-sinogram" not in [method["id"] for method in panel.offers.methods]  # it makes no volume
    node.model = "untrained-restore-sinogram"
    methodOption(panel, "Iterations").value = 1
    methodOption(panel, "Draws").value = 2
    assert run(panel).GetName() == "block RED" and node.uncertaintyVolume.GetName() == "block uncertainty"


def test_every_installed_card_has_words(panel) -> None:
    from PETDiffusionSlicer import words

    said = {card["id"]: words.ofCard(card) for card in panel.offers.info["models"]}
    assert said["petdiffusion-denoiser"].endswith("random uptake; 0.008 to 1.2 of the full dose.")
    assert said["petdiffusion-prior"].endswith("Trained on FDG-like.")
    foreign = {"licence": {"url": "u", "name": "CC"}, "training": {"tracers": [], "dose_range": []}}
    assert words.ofCard(foreign) == 'Licence: <a href="u">CC</a>.'


def test_clearing_the_models_leaves_what_is_no_model(panel, module, tmp_path, monkeypatch) -> None:
    for name in ("mine.safetensors", "mine.json", "study.json", "image.nrrd.manifest.json"):
        (tmp_path / name).write_text("{}")
    module.settings.save(modelsFolder=str(tmp_path))
    questions = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or True)
    panel._advanced._onClearModels()
    assert questions[0].startswith("Delete 2 model files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.nrrd.manifest.json", "study.json"]


def test_a_method_without_a_model_says_so(panel, volume, module, tmp_path) -> None:
    module.settings.save(modelsFolder=str(tmp_path))
    panel.offers.info = None
    panel.offers.ask()
    until(lambda: panel.offers.info)
    panel._parameterNode.inputVolume, panel._parameterNode.method = volume, "ddpm3d"
    assert not panel.ui.applyButton.enabled and "none is installed" in panel.ui.applyButton.toolTip
    assert panel.ui.modelLabel.text == "No model is installed for this method."
