"""Stand-in for Slicer's Sample Data module: keeps what is registered in slicer.modules.sampleDataSources."""

import types

import slicer


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        categories = slicer.modules.__dict__.setdefault("sampleDataSourceCategories", {})
        categories[category] = {"title": title}

    @staticmethod
    def registerCustomSampleDataSource(
        category,
        sampleName,
        thumbnailFileName,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        customDownloader=None,
    ):
        source = types.SimpleNamespace(**{name: value for name, value in locals().items() if name != "category"})
        slicer.modules.__dict__.setdefault("sampleDataSources", {}).setdefault(category, []).append(source)
