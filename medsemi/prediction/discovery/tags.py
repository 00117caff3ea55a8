"""Tags of the DICOM elements that discovery reads, by keyword."""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword
from pydicom.tag import BaseTag

# What a DICOM SEG repeats of patient and study.
CARRIED = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_OF_OBJECTS = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID"),
    *("Modality", "ConversionType", "Manufacturer", "SeriesDescription"),
    *("PatientPosition", "BodyPartExamined", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SeriesNumber", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BurnedInAnnotation", "LossyImageCompression"),
    *("ModalityLUTSequence", "DirectoryRecordSequence", "FrameOfReferenceUID"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *CARRIED,
)
_OF_FRAMES = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "EchoTime", "EchoNumbers", "ComplexImageComponent"),
    *("DiffusionBValue", "DiffusionGradientOrientation", "TemporalPositionIdentifier"),
    *("AcquisitionNumber", "TriggerTime", "AcquisitionTime", "AcquisitionDateTime"),
    *("ContentTime", "InstanceNumber"),
)
_OF_FUNCTIONAL_GROUPS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
    *("PixelValueTransformationSequence", "FrameContentSequence", "TemporalPositionIndex"),
    *("FrameAcquisitionNumber", "FrameAcquisitionDateTime", "MREchoSequence"),
    *("EffectiveEchoTime", "MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    *("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "FrameType"),
    *("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "UnassignedPerFrameConvertedAttributesSequence",
)
GE_BVALUE = 0x00431039
SIEMENS_BVALUE = 0x0019100C
TRANSFER_SYNTAX = 0x00020010
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


# An element of this name -> its number.
TAG = {keyword: _tag(keyword) for keyword in (*_OF_OBJECTS, *_OF_FRAMES, *_OF_FUNCTIONAL_GROUPS)}
# What is read of the top level of a file.
READ: list[BaseTag | int] = [
    *(TAG[keyword] for keyword in (*_OF_OBJECTS, *_OF_FRAMES)),
    GE_BVALUE,
    SIEMENS_BVALUE,
]
