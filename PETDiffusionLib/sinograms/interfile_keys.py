"""Keys of Interfile's dialects that say nothing a reader here needs: known, and passed over in silence.

Names as Interfile 3.3 (Todd-Pokropek, Cradduck, Deconinck 1992), STIR (InterfileHeader.cxx, InterfileHeaderSiemens.cxx)
and Siemens' e7 tools spell them, plainly (see InterfileHeader) and without an index.
"""

from __future__ import annotations

import re

TITLES = """
interfile; general data; general image data; pet study (general); pet study (emission data); pet study (image data);
spect study (general); spect study (acquired data); spect study (reconstructed data); image data description;
scanner parameters; end scanner parameters; detector block singles; coincidence list data; static study (general);
dynamic study (general); gated study (general)
"""
ABOUT_THE_STUDY = """
version of keys; date of keys; conversion program; program author; program version; program date; contact person;
original institution; institution; patient name; patient id; patient dob; patient sex; patient age; patient weight;
patient height; study id; study date; study time; exam type; data description; operator; comment; series id;
originating system; isotope name; isotope gamma halflife (sec); isotope branching factor; number of radionuclides;
radionuclide name; radionuclide halflife (sec); radionuclide branching factor; radiopharmaceutical;
relative time of tracer injection (sec); tracer activity at time of injection (bq); injected volume (ml);
calibration factor; sms-mi version number; sms-mi header name space; compressor version; listmode header file;
listmode data file; data format; data compression; data encode; display range; display colors; image colour
"""
ABOUT_THE_ACQUISITION = """
number of energy windows; energy window lower level; energy window upper level; energy window lower level (kev);
energy window upper level (kev); energy window; number of time frames; image duration (sec);
image relative start time (sec); image start time; start horizontal bed position (mm); end horizontal bed position (mm);
start vertical bed position (mm); horizontal bed translation; bed zero offset (mm); gantry tilt angle (degrees);
coincidence window width (ns); septa state; number of buckets; bucket singles rate; total uncorrected singles rate;
total prompts events; total prompts; total randoms; total net trues; gim loss fraction; pdr loss fraction;
image duration from timing tags (msec); total number of data sets; total number of sinograms; sinogram type;
maximum pixel count; minimum pixel count; total counts; number of windows; number of images/energy window;
method of attenuation correction; method of scatter correction; method of random correction; decay correction;
decay correction factor; scatter fraction (%); data set is complete; preset type; preset value; preset unit;
number of time windows; process status; process label; pet scanner type; transaxial fov diameter (cm); bin size (cm);
gantry crystal radius (cm); number of detector heads; head number; pet data type; type of data; imaging modality
"""
ABOUT_THE_SCANNER = """
scanner type; energy resolution; reference energy (in kev); maximum number of non-arc-corrected bins;
default number of arc-corrected bins; default bin size (cm); number of detector layers;
number of blocks per bucket in transaxial direction; number of blocks per bucket in axial direction;
number of crystals per block in axial direction; number of crystals per block in transaxial direction;
number of crystals per singles unit in axial direction; number of crystals per singles unit in transaxial direction;
scanner orientation (x or y); distance between crystals in axial direction (cm);
distance between crystals in transaxial direction (cm); distance between blocks in axial direction (cm);
distance between blocks in transaxial direction (cm); effective central bin size (cm);
maximum number of (unmashed) tof time bins; number of tof time bins; size of unmashed tof time bins (ps);
size of timing bin (ps); tof timing resolution (ps); timing resolution (ps); tof mashing factor
"""
ABOUT_AN_IMAGE = """
method of reconstruction; number of iterations; number of subsets; stopping criteria; filter name; filter parameters;
xy-filter (mm); z-filter (mm); filter order; xy-filter; z-filter; image zoom; slice orientation; process matrix;
reconstruction diameter (mm); reconstruction bins; reconstruction views; number of image data types; number of slices;
index nesting level; image data type description; ct coverage; pet/ct alignment; matrix initial element orientation;
quantifier units; applied corrections; method of filtering; date of reconstruction
"""
KNOWN = {
    re.sub(r"\s+", " ", key).strip()
    for part in (TITLES, ABOUT_THE_STUDY, ABOUT_THE_ACQUISITION, ABOUT_THE_SCANNER, ABOUT_AN_IMAGE)
    for key in part.split(";")
}
DATES = re.compile(r".*(date \(yyyy:mm:dd\)|time \(hh:mm:ss( gmt[+-]\d\d:\d\d)?\))")


def is_known(key: str) -> bool:
    """Whether a plain key, with an index or without, is known to have no effect here."""
    name = key.split("[")[0].strip()
    return name in KNOWN or DATES.fullmatch(name) is not None
