"""What an Interfile header is the header of: its many kinds share a format and little else."""

from __future__ import annotations

from PETDiffusionLib.sinograms.interfile_header import InterfileHeader

NUCLEAR_MEDICINE = ("nm", "nucmed", "spect", "nuclear medicine", "st")
PET = ("", "pt", "pet", "ptct", "pet/ct", "mr/pet", "pet/mr")
EMISSION, IMAGE, CORRECTION, NORMALISATION = "emission", "image", "attenuation correction", "normalisation"
PET_DATA_TYPES = {
    "emission": EMISSION,
    "image": IMAGE,
    "attenuationcorrection": CORRECTION,
    "attenuation correction": CORRECTION,
    "normalisation": NORMALISATION,
    "normalization": NORMALISATION,
    "transmission": "a transmission scan",
    "blank": "a blank scan",
}
IN_WORDS = {
    EMISSION: "a sinogram of emission data",
    IMAGE: "an image",
    CORRECTION: "a sinogram of attenuation correction factors",
    NORMALISATION: "a sinogram of normalisation factors",
}
ADVICE = {
    IMAGE: "give it where a volume is expected (--attenuation, --start, --anatomy, denoise)",
    EMISSION: "give it to petdiffusion reconstruct, or reconstruct it first",
    CORRECTION: "as attenuation factors, 1 over them, it goes in by --attenuation-factors",
    NORMALISATION: "as efficiencies it goes in by --normalisation",
    "list mode": "give it to petdiffusion histogram",
}


def kind_of(header: InterfileHeader) -> str:
    """One of EMISSION, IMAGE, CORRECTION and NORMALISATION, or in words what else it is."""
    modality, data_type = header.word("imaging modality"), header.word("type of data")
    reconstructed = header.word("process status") == "reconstructed"
    name_space = header.word("sms-mi header name space")
    axes = {header.word(f"matrix axis label[{number}]") for number in range(1, 6)}
    stated = header.word("pet data type")
    if {"y", "z"} <= axes and stated not in ("", "image"):
        raise header.error(f'"PET data type" is "{stated}", but the axes are those of an image, x, y and z')
    for found, kind in (
        (header.word("data format") == "coincidencelist" or "petlink" in name_space, "list mode"),
        ("main header" in name_space, "a main header, which names others that hold the data"),
        ("number of normalization components" in header, "a component-based normalisation"),
        (data_type in ("curve", "roi"), f"a {data_type}"),
        ({"y", "z"} <= axes, IMAGE),
        ({"view", "segment"} <= axes and not stated and modality in PET, EMISSION),
        (modality in NUCLEAR_MEDICINE or _is_spect(header), _of_nuclear_medicine(header, data_type, reconstructed)),
        (modality not in PET and not reconstructed, f"data of another modality ({modality.upper()})"),
        (stated in PET_DATA_TYPES, PET_DATA_TYPES.get(stated, "")),
        (reconstructed or "image" in name_space, IMAGE),
    ):
        if found:
            return kind
    if stated:
        raise header.error(f'"PET data type" is "{stated}", which is none that is known here')
    return EMISSION if axes & {"view", "projection", "sinogram views"} else IMAGE


def _is_spect(header: InterfileHeader) -> bool:
    return header.has("spect study (general)") or header.has("spect study (acquired data)")


def _of_nuclear_medicine(header: InterfileHeader, data_type: str, reconstructed: bool) -> str:
    if reconstructed:
        return IMAGE
    if data_type == "tomographic" or _is_spect(header) or "extent of rotation" in header:
        return "SPECT projections"
    return f"nuclear medicine ({data_type or 'planar'} data)"


def expect(header: InterfileHeader, *wanted: str) -> str:
    """The kind of the header, one of `wanted`. Raises PETDiffusionError "bad-header", which says what else it is."""
    kind = kind_of(header)
    if kind in wanted:
        return kind
    words = IN_WORDS.get(kind, kind)
    advice = ADVICE.get(kind, "this project reconstructs PET, and cannot use it")
    raise header.error(f"it is the header of {words}, where {IN_WORDS[wanted[0]]} is expected: {advice}")
