"""Stand-in for Slicer's Sample Data module: keeps what is registered in slicer.modules.sampleDataSources."""

import hashlib
import types
import urllib.request
from pathlib import Path

import slicer


def downloadFromURL(uris, fileNames, nodeNames, checksums):
    """The nodes in the file at an address, kept in the cache; [] where it cannot be had or is another one."""
    path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), fileNames)
    if not path.exists():
        try:
            urllib.request.urlretrieve(uris, path)
        except OSError:
            return []
    if f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}" != checksums:
        path.unlink()
        return []
    return [slicer.util.loadVolume(str(path), {"name": nodeNames})]


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        categories = slicer.modules.__dict__.setdefault("sampleDataSourceCategories", {})
        categories[category] = {"title": title}

    @staticmethod
    def registerCustomSampleDataSource(
        category,
        sampleName,
        uris,  # as in Slicer, a source without an address has an empty one
        thumbnailFileName,
        customDownloader,
        fileNames=None,
        nodeNames=None,
        checksums=None,
    ):
        source = types.SimpleNamespace(**{name: value for name, value in locals().items() if name != "category"})
        slicer.modules.__dict__.setdefault("sampleDataSources", {}).setdefault(category, []).append(source)
