"""The sample data: registered with their licence, and the public patient downloaded, checked and ready to denoise."""

import functools
import http.server
import shutil
import threading

import pytest
import slicer


@pytest.fixture
def server(shared_data, tmp_path, monkeypatch, module):
    """A folder on an HTTP server of this computer, in place of the patient's public address."""
    from PETDiffusionSlicer import samples

    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(shared_data / "ibsi_sts_suv_crops" / "STS_001" / "PET_image.nii.gz", folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(handler.func, "log_message", lambda *_arguments: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/PET_image.nii.gz"
        monkeypatch.setitem(samples.PATIENT_FILE, "uris", address)
        (tmp_path / "cache").mkdir()
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(str(tmp_path / "cache"))
        slicer.mrmlScene.SetCacheManager(cache)
        yield folder
        slicer.mrmlScene.SetCacheManager(None)
        server.shutdown()


def sample(words):
    """The registered sample whose name holds some words."""
    sources = slicer.modules.sampleDataSources["PETDiffusion"]
    return next(source for source in sources if words in source.sampleName)


def test_the_samples_are_registered_with_picture_and_licence(module) -> None:
    import qt

    assert "CC BY 3.0" in sample("sarcoma").sampleName
    assert "simulated on this computer" in sample("Low-dose").sampleName
    for words in ("sarcoma", "Low-dose"):
        assert not qt.QPixmap(sample(words).thumbnailFileName).isNull()


def test_the_public_patient_is_downloaded_once_and_is_in_suv(scene, server) -> None:
    [volume] = sample("sarcoma").customDownloader(sample("sarcoma"))
    assert volume.GetName() == "SarcomaFdgPET" and volume.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    assert volume.GetDisplayNode().GetWindowLevelMax() == 6.0
    (server / "PET_image.nii.gz").unlink()
    [again] = sample("sarcoma").customDownloader(sample("sarcoma"))
    assert slicer.util.arrayFromVolume(again).shape == slicer.util.arrayFromVolume(volume).shape


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"another file")])
def test_a_sample_that_is_not_there_or_not_the_same_is_refused(module, scene, server, change) -> None:
    change(server / "PET_image.nii.gz")
    with pytest.raises(module.EngineError, match="could not be downloaded from http"):
        sample("sarcoma").customDownloader(sample("sarcoma"))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
