"""Small Enhanced PET files (PS3.3 A.56) that nothing is wrong with, for tests to bend one tag of.

`dciodvfy` of dicom3tools finds no error in what `enhanced_pet` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import EnhancedPETImageStorage, ExplicitVRLittleEndian, generate_uid

from Testing.volumes.dicom_series import COLUMNS, DOSE_BQ, HALF_LIFE_S, ROWS, WEIGHT_KG

_CORRECTED = (
    "DecayCorrected",
    "AttenuationCorrected",
    "ScatterCorrected",
    "DeadTimeCorrected",
    "GantryMotionCorrected",
    "PatientMotionCorrected",
    "CountLossNormalizationCorrected",
    "RandomsCorrected",
    "NonUniformRadialSamplingCorrected",
    "SensitivityCalibrated",
    "DetectorNormalizationCorrection",
)


@dataclass(frozen=True)
class Frame:
    """What tells one frame of an enhanced file from the next; `unit_slope` leads to Bq/ml, `slope` to nothing named."""

    stored: np.ndarray  # int16 [y, x]
    z_mm: float
    unit_slope: float = 1.0
    slope: float = 1.0
    start: str = "20240105110000"
    duration_ms: float = 60000.0
    temporal_index: int = 1
    trigger_ms: float | None = None


def item(**values: object) -> Items:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return Items([dataset])


def code(value: str, scheme: str, meaning: str) -> Items:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def enhanced_pet(frames: Sequence[Frame], series_uid: str, unit: str = "Bq/ml") -> FileDataset:
    """An Enhanced PET image of the frames, decay corrected to 11:00."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedPETImageStorage, generate_uid()
    image = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    _describe_study(image, series_uid)
    _describe_scan(image)
    _describe_pixels(image, frames)
    gated = any(frame.trigger_ms is not None for frame in frames)
    image.SharedFunctionalGroupsSequence = Items([_shared_groups()])
    image.PerFrameFunctionalGroupsSequence = Items(
        [_groups(frame, number, unit) for number, frame in enumerate(frames)]
    )
    image.CardiacSynchronizationTechnique = "RETROSPECTIVE" if gated else "NONE"
    if gated:
        image.CardiacSignalSource, image.LowRRValue, image.HighRRValue = "ECG", 600, 1200
        image.CardiacRRIntervalSpecified, image.CardiacBeatRejectionTechnique = 900.0, "NONE"
        image.IntervalsAcquired, image.IntervalsRejected = 100, 0
    image.RespiratoryMotionCompensationTechnique = "NONE"
    return image


def _describe_study(image: Dataset, series_uid: str) -> None:
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Secret^Name", "secret-id", "", "F"
    image.PatientWeight = WEIGHT_KG
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[series_uid, kind]) if kind else series_uid for kind in ("study", "", "frame")
    )
    image.StudyDate = image.SeriesDate = image.ContentDate = "20240105"
    image.StudyTime, image.SeriesTime, image.ContentTime = "093000", "113000", "113000"
    image.AccessionNumber, image.ReferringPhysicianName, image.StudyID = "", "", "1"
    image.Modality, image.SeriesNumber, image.InstanceNumber, image.PositionReferenceIndicator = "PT", 4, 1, ""
    image.Manufacturer, image.ManufacturerModelName, image.DeviceSerialNumber = "Vendor", "Model", "1"
    image.SoftwareVersions, image.ContentQualification, image.BurnedInAnnotation = "1", "RESEARCH", "NO"


def _describe_scan(image: Dataset) -> None:
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.PixelPresentation, image.VolumetricProperties = "MONOCHROME", "VOLUME"
    image.VolumeBasedCalculationTechnique, image.LossyImageCompression = "NONE", "00"
    image.PresentationLUTShape = "IDENTITY"
    image.AcquisitionDateTime, image.AcquisitionDuration = "20240105110000", 600.0
    image.AcquisitionContextSequence = Items([])
    image.TypeOfDetectorMotion, image.CountsSource, image.RandomsCorrectionMethod = "STATIONARY", "EMISSION", "DLYD"
    image.AcquisitionStartCondition, image.AcquisitionTerminationCondition = "MANUAL", "TIME"
    image.TerminationTimeThreshold, image.TableMotion, image.TimeOfFlightInformationUsed = 600.0, "STATIC", "FALSE"
    image.DetectorGeometry, image.CollimatorType, image.CoincidenceWindowWidth = "CYLINDRICAL_RING", "NONE", 4
    image.TransverseDetectorSeparation, image.AxialDetectorDimension = 800.0, 250.0
    image.EnergyWindowRangeSequence = item(EnergyWindowLowerLimit=435, EnergyWindowUpperLimit=650)
    image.ViewCodeSequence = code("62824007", "SCT", "transverse")
    for keyword in _CORRECTED:
        setattr(image, keyword, "NO" if "Motion" in keyword or "Sampling" in keyword else "YES")
    image.DecayCorrectionDateTime = "20240105110000"
    image.AttenuationCorrectionSource, image.AttenuationCorrectionTemporalRelationship = "CT", "SIMULTANEOUS"
    image.ScatterCorrectionMethod = "SSS"
    tracer = item(
        RadiopharmaceuticalAgentNumber=1,
        RadionuclideCodeSequence=code("X-60", "99TEST", "Test nuclide"),
        AdministrationRouteCodeSequence=code("47625008", "SCT", "Intravenous route"),
        RadiopharmaceuticalCodeSequence=code("X-60T", "99TEST", "Test tracer"),
        RadiopharmaceuticalStartDateTime="20240105100000",
        RadionuclideTotalDose=DOSE_BQ,
        RadionuclideHalfLife=HALF_LIFE_S,
        RadionuclidePositronFraction=0.97,
        RadiopharmaceuticalVolume=1,
    )
    image.RadiopharmaceuticalInformationSequence = tracer


def _describe_pixels(image: Dataset, frames: Sequence[Frame]) -> None:
    image.Rows, image.Columns, image.NumberOfFrames = ROWS, COLUMNS, len(frames)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.PixelData = np.stack([frame.stored for frame in frames]).astype("<i2").tobytes()
    organization = generate_uid()
    image.DimensionOrganizationSequence = item(DimensionOrganizationUID=organization)
    image.DimensionIndexSequence = item(
        DimensionOrganizationUID=organization,
        DimensionIndexPointer=Tag("FrameAcquisitionNumber"),
        FunctionalGroupPointer=Tag("FrameContentSequence"),
    )


def _shared_groups() -> Dataset:
    groups = Dataset()
    groups.PixelMeasuresSequence = item(PixelSpacing=[3, 2], SliceThickness=4)
    groups.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    groups.FrameAnatomySequence = item(FrameLaterality="U", AnatomicRegionSequence=code("69536005", "SCT", "Head"))
    groups.FrameVOILUTSequence = item(WindowCenter=1000, WindowWidth=2000)
    groups.RadiopharmaceuticalUsageSequence = item(RadiopharmaceuticalAgentNumber=1)
    groups.PETFrameTypeSequence = item(
        FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    groups.PETFrameAcquisitionSequence = item(
        TableHeight=1, GantryDetectorTilt=0, GantryDetectorSlew=0, DataCollectionDiameter=700
    )
    groups.PETPositionSequence = item(
        TablePosition=0.0,
        DataCollectionCenterPatient=[0.0, 0.0, 0.0],
        ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
    )
    groups.PETFrameCorrectionFactorsSequence = item(
        PrimaryPromptsCountsAccumulated=1, SliceSensitivityFactor=1.0, DecayFactor=1.0, ScatterFractionFactor=0.3,
        DeadTimeFactor=1.0,
    )  # fmt: skip
    groups.PETReconstructionSequence = item(
        TimeOfFlightInformationUsed="FALSE", ReconstructionType="3D", ReconstructionAlgorithm="REPROJECTION",
        IterativeReconstructionMethod="YES", NumberOfIterations=2, NumberOfSubsets=21, ReconstructionDiameter=500.0,
    )  # fmt: skip
    return groups


def _groups(frame: Frame, number: int, unit: str) -> Dataset:
    groups = Dataset()
    groups.FrameContentSequence = item(
        FrameAcquisitionNumber=number + 1,
        FrameReferenceDateTime=frame.start,
        FrameAcquisitionDateTime=frame.start,
        FrameAcquisitionDuration=frame.duration_ms,
        DimensionIndexValues=number + 1,
        TemporalPositionIndex=frame.temporal_index,
        StackID="1",
        InStackPositionNumber=number + 1,
    )
    groups.PlanePositionSequence = item(ImagePositionPatient=[-10, -20, frame.z_mm])
    groups.PixelValueTransformationSequence = item(RescaleIntercept=0, RescaleSlope=frame.slope, RescaleType="US")
    groups.RealWorldValueMappingSequence = item(
        RealWorldValueFirstValueMapped=-32768,
        RealWorldValueLastValueMapped=32767,
        RealWorldValueIntercept=0.0,
        RealWorldValueSlope=frame.unit_slope,
        LUTExplanation="activity",
        LUTLabel="1",
        MeasurementUnitsCodeSequence=code(unit, "UCUM", unit),
    )
    if frame.trigger_ms is not None:
        groups.CardiacSynchronizationSequence = item(
            NominalPercentageOfCardiacPhase=frame.trigger_ms / 9,
            NominalCardiacTriggerDelayTime=frame.trigger_ms,
            ActualCardiacTriggerDelayTime=frame.trigger_ms,
            RRIntervalTimeNominal=900.0,
        )
    return groups
