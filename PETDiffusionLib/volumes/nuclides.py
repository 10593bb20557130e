"""The radionuclides of PET: half-lives, DICOM codes, and which of them a text or a tracer's name means."""

from __future__ import annotations

import re
from dataclasses import dataclass

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86400.0, 31556926.0

# Half-lives differ so between evaluations and vendors' tables (Sc-44: 3.97 and 4.04 h; Tb-152: 17.5 and 17.9 h).
SAME_HALF_LIFE = 0.025


@dataclass(frozen=True)
class Nuclide:
    """A radionuclide: its symbol ("F-18"), its element's name and its half-life in seconds."""

    symbol: str
    element: str
    half_life_s: float

    @property
    def name(self) -> str:
        """As sentences say it: "fluorine-18"."""
        return f"{self.element}-{self.symbol.split('-')[1]}"

    def has_half_life(self, seconds: float) -> bool:
        """Whether a half-life is this nuclide's, within what evaluations differ by."""
        return abs(seconds - self.half_life_s) <= SAME_HALF_LIFE * self.half_life_s


# ICRP Publication 107, Nuclear Decay Data for Dosimetric Calculations (Annals of the ICRP 38(3), 2008), annex A.
NUCLIDES = {
    nuclide.symbol: nuclide
    for nuclide in (
        Nuclide("C-11", "carbon", 20.39 * MINUTE),
        Nuclide("N-13", "nitrogen", 9.965 * MINUTE),
        Nuclide("O-14", "oxygen", 70.606),
        Nuclide("O-15", "oxygen", 122.24),
        Nuclide("F-18", "fluorine", 109.77 * MINUTE),
        Nuclide("Na-22", "sodium", 2.6019 * YEAR),
        Nuclide("K-38", "potassium", 7.636 * MINUTE),
        Nuclide("Sc-43", "scandium", 3.891 * HOUR),
        Nuclide("Sc-44", "scandium", 3.97 * HOUR),
        Nuclide("Ti-45", "titanium", 184.8 * MINUTE),
        Nuclide("Mn-51", "manganese", 46.2 * MINUTE),
        Nuclide("Mn-52", "manganese", 5.591 * DAY),
        Nuclide("Mn-52m", "manganese", 21.1 * MINUTE),
        Nuclide("Fe-52", "iron", 8.275 * HOUR),
        Nuclide("Co-55", "cobalt", 17.53 * HOUR),
        Nuclide("Cu-60", "copper", 23.7 * MINUTE),
        Nuclide("Cu-61", "copper", 3.333 * HOUR),
        Nuclide("Cu-62", "copper", 9.673 * MINUTE),
        Nuclide("Cu-64", "copper", 12.70 * HOUR),
        Nuclide("Zn-62", "zinc", 9.186 * HOUR),
        Nuclide("Zn-63", "zinc", 38.47 * MINUTE),
        Nuclide("Ga-66", "gallium", 9.49 * HOUR),
        Nuclide("Ga-68", "gallium", 67.71 * MINUTE),
        Nuclide("Ge-68", "germanium", 270.95 * DAY),
        Nuclide("As-70", "arsenic", 52.6 * MINUTE),
        Nuclide("As-72", "arsenic", 26.0 * HOUR),
        Nuclide("As-74", "arsenic", 17.77 * DAY),
        Nuclide("Se-73", "selenium", 7.15 * HOUR),
        Nuclide("Br-75", "bromine", 96.7 * MINUTE),
        Nuclide("Br-76", "bromine", 16.2 * HOUR),
        Nuclide("Br-77", "bromine", 57.036 * HOUR),
        Nuclide("Rb-82", "rubidium", 1.273 * MINUTE),
        Nuclide("Y-86", "yttrium", 14.74 * HOUR),
        Nuclide("Y-90", "yttrium", 64.10 * HOUR),
        Nuclide("Zr-89", "zirconium", 78.41 * HOUR),
        Nuclide("Nb-90", "niobium", 14.60 * HOUR),
        Nuclide("Tc-94m", "technetium", 52.0 * MINUTE),
        Nuclide("I-120", "iodine", 81.6 * MINUTE),
        Nuclide("I-124", "iodine", 4.1760 * DAY),
        Nuclide("La-132", "lanthanum", 4.8 * HOUR),
        Nuclide("La-133", "lanthanum", 3.912 * HOUR),
        Nuclide("Tb-149", "terbium", 4.118 * HOUR),
        Nuclide("Tb-152", "terbium", 17.5 * HOUR),
    )
}

# DICOM PS3.16 CID 4020, PET Radionuclide, in SNOMED CT, in SNOMED-RT ("SRT", "SNM3", "99SDM") and in DICOM's own terms.
CODES = {
    "40565003": "C-11", "C-105A1": "C-11", "21576001": "N-13", "C-107A1": "N-13", "424875009": "O-14",
    "C-1018C": "O-14", "129504001": "O-15", "C-B1038": "O-15", "77004003": "F-18", "C-111A1": "F-18",
    "71633006": "Na-22", "C-155A1": "Na-22", "423764008": "K-38", "C-135A4": "K-38", "126605": "Sc-43",
    "126600": "Sc-44", "75696008": "Ti-45", "C-166A2": "Ti-45", "126601": "Mn-51", "37225000": "Mn-52",
    "C-149A1": "Mn-52", "126607": "Mn-52m", "69089000": "Fe-52", "C-130A1": "Fe-52", "425364008": "Cu-60",
    "C-127A4": "Cu-60", "71425003": "Cu-61", "C-127A1": "Cu-61", "422934004": "Cu-62", "C-127A5": "Cu-62",
    "3932008": "Cu-64", "C-127A2": "Cu-64", "65054007": "Zn-62", "C-141A1": "Zn-62", "79477007": "Ga-66",
    "C-131A1": "Ga-66", "35337001": "Ga-68", "C-131A3": "Ga-68", "53315004": "Ge-68", "C-128A2": "Ge-68",
    "126602": "As-70", "2705002": "As-72", "C-115A2": "As-72", "87437000": "Se-73", "C-116A2": "Se-73",
    "17910003": "Br-75", "C-113A1": "Br-75", "79523006": "Br-76", "C-113A2": "Br-76", "86521004": "Br-77",
    "C-113A3": "Br-77", "79197006": "Rb-82", "C-159A2": "Rb-82", "10738001": "Y-86", "C-162A3": "Y-86",
    "14691008": "Y-90", "C-162A7": "Y-90", "63360001": "Zr-89", "C-168A4": "Zr-89", "126603": "Nb-90",
    "424079002": "Tc-94m", "C-163AA": "Tc-94m", "40937006": "I-124", "C-114A5": "I-124", "126606": "Tb-152",
}  # fmt: skip

# Tracers that exist with one radionuclide only and are called by a name without it.
TRACERS = {
    "F-18": (
        "fdg", "18fdg", "fludeoxyglucose", "fluorodeoxyglucose", "fluoro d glucose", "naf", "sodium fluoride", "flt",
        "fluorothymidine", "fet", "fluoroethyltyrosine", "fluorethyltyrosin", "fdopa", "f dopa", "fluorodopa", "fmiso",
        "fluoromisonidazole", "faza", "fes", "fluoroestradiol", "dcfpyl", "piflufolastat", "pylarify", "psma 1007",
        "rhpsma", "flotufolastat", "fluciclovine", "axumin", "florbetapir", "amyvid", "av45", "florbetaben",
        "neuraceq", "flutemetamol", "vizamyl", "flortaucipir", "tauvid", "av1451", "mk 6240", "pi 2620",
        "fluorocholine", "flurpiridaz", "cerianna", "vmat2", "av133",
    ),
    "C-11": ("pib", "pittsburgh compound b"),
    "Rb-82": ("rubidium chloride", "cardiogen", "ruby fill"),
}  # fmt: skip

_ELEMENTS = {
    **{nuclide.symbol.split("-")[0].lower(): nuclide.symbol.split("-")[0] for nuclide in NUCLIDES.values()},
    **{nuclide.element: nuclide.symbol.split("-")[0] for nuclide in NUCLIDES.values()},
    "fluor": "F", "fluoride": "F", "iodide": "I", "jod": "I", "kupfer": "Cu", "zirkonium": "Zr",
}  # fmt: skip
_ANY_ELEMENT = "|".join(sorted(_ELEMENTS, key=len, reverse=True))
_NUMBER_FIRST = re.compile(rf"(?<![a-z0-9])(\d{{1,3}}m?) ?({_ANY_ELEMENT})(?![a-z])")
_ELEMENT_FIRST = re.compile(rf"(?<![a-z])({_ANY_ELEMENT}) ?(\d{{1,3}}m?)(?![0-9])")


def nuclide_of_code(value: object) -> Nuclide | None:
    """The nuclide of a code of DICOM's CID 4020, None where it is not of them."""
    return NUCLIDES.get(CODES.get(str(value or "").strip().upper(), ""))


def nuclide_named(text: object) -> Nuclide | None:
    """The nuclide that a text names: "^18^Fluorine", "F-18", "18F", "Ga68", "[68Ga]Ga-DOTATATE", "FDG".

    None where it names none or several, or a tracer that is made with several ("DOTATATE").
    """
    words = " ".join(re.sub(r"[^a-z0-9]+", " ", str(text or "").replace("^", "").lower()).split())
    found = {(_ELEMENTS[element], mass) for mass, element in _NUMBER_FIRST.findall(words)}
    found |= {(_ELEMENTS[element], mass) for element, mass in _ELEMENT_FIRST.findall(words)}
    symbols = {f"{element}-{mass}" for element, mass in found} & set(NUCLIDES)
    if not symbols:
        padded = f" {words} "
        symbols = {symbol for symbol, names in TRACERS.items() if any(f" {name} " in padded for name in names)}
    return NUCLIDES[symbols.pop()] if len(symbols) == 1 else None


def nuclides_with_half_life(seconds: float) -> list[Nuclide]:
    """The nuclides of PET that have a half-life, the nearest first."""
    near = [nuclide for nuclide in NUCLIDES.values() if nuclide.has_half_life(seconds)]
    return sorted(near, key=lambda nuclide: abs(nuclide.half_life_s - seconds))
