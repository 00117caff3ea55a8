"""What of the header of an image a DICOM segmentation is made from.

The rest of a header is not even converted: nothing that is wrong there stands in the way.
"""

from __future__ import annotations

# Where an image lies and what identifies it.
PER_IMAGE = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Rows", "Columns"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
)
_OF_SERIES = (
    *("Modality", "SeriesNumber", "SliceThickness", "SpacingBetweenSlices"),
    *("PositionReferenceIndicator", "NumberOfFrames"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("ContentDate", "ContentTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime"),
    *("SeriesDate", "SeriesTime"),
)
_OF_EQUIPMENT = (
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"),
    *("InstitutionName", "InstitutionalDepartmentName", "InstitutionAddress", "StationName"),
)
# The modules of the DICOM standard that segmentation and source have in common, whole.
_OF_PATIENT = (
    *("ReferencedPatientSequence", "PatientName", "PatientID", "IssuerOfPatientID"),
    *("TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("SourcePatientGroupIdentificationSequence", "GroupOfPatientsIdentificationSequence"),
    *("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar"),
    *("PatientDeathDateInAlternativeCalendar", "PatientAlternativeCalendar", "PatientSex"),
    *("QualityControlSubject", "StrainDescription", "StrainNomenclature", "StrainStockSequence"),
    *("StrainAdditionalInformation", "StrainCodeSequence", "GeneticModificationsSequence"),
    *("OtherPatientNames", "OtherPatientIDsSequence", "ReferencedPatientPhotoSequence"),
    *("EthnicGroupCodeSequence", "PatientSpeciesDescription", "PatientSpeciesCodeSequence"),
    *("PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence"),
    *("ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization"),
    *("PatientComments", "PatientIdentityRemoved", "DeidentificationMethod"),
    "DeidentificationMethodCodeSequence",
)
_OF_STUDY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "ReferringPhysicianIdentificationSequence"),
    *("ConsultingPhysicianName", "ConsultingPhysicianIdentificationSequence"),
    *("StudyDescription", "ProcedureCodeSequence", "PhysiciansOfRecord"),
    *("PhysiciansOfRecordIdentificationSequence", "NameOfPhysiciansReadingStudy"),
    *("PhysiciansReadingStudyIdentificationSequence", "ReferencedStudySequence", "StudyID"),
    *("RequestingService", "RequestingServiceCodeSequence"),
    "ReasonForPerformedProcedureCodeSequence",
)
_OF_PATIENT_IN_STUDY = (
    *("AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge"),
    *("PatientSize", "PatientSizeCodeSequence", "PatientBodyMassIndex", "MeasuredAPDimension"),
    *("MeasuredLateralDimension", "PatientWeight", "MedicalAlerts", "Allergies", "Occupation"),
    *("SmokingStatus", "AdditionalPatientHistory", "PregnancyStatus", "LastMenstrualDate"),
    *("PatientSexNeutered", "ReasonForVisit", "ReasonForVisitCodeSequence", "AdmissionID"),
    *("IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "ServiceEpisodeDescription"),
    *("IssuerOfServiceEpisodeIDSequence", "PatientState"),
)
_OF_TRIAL = (
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("IssuerOfClinicalTrialProtocolID", "OtherClinicalTrialProtocolIDsSequence"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "IssuerOfClinicalTrialSiteID"),
    *("ClinicalTrialSubjectID", "IssuerOfClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "IssuerOfClinicalTrialSubjectReadingID"),
    *("ClinicalTrialProtocolEthicsCommitteeName",),
    *("ClinicalTrialProtocolEthicsCommitteeApprovalNumber", "ClinicalTrialTimePointID"),
    *("ClinicalTrialTimePointDescription", "LongitudinalTemporalOffsetFromEvent"),
    *("LongitudinalTemporalEventType", "ClinicalTrialTimePointTypeCodeSequence"),
    *("IssuerOfClinicalTrialTimePointID", "ConsentForClinicalTrialUseSequence"),
)
_OF_SPECIMEN = (
    *("ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "ContainerDescription"),
    *("AlternateContainerIdentifierSequence", "ContainerTypeCodeSequence"),
    *("ContainerComponentSequence", "SpecimenDescriptionSequence"),
)
# Of the first image, which also gives patient and study.
OF_FIRST = (
    "SpecificCharacterSet",
    *PER_IMAGE,
    *_OF_SERIES,
    *_OF_EQUIPMENT,
    *_OF_PATIENT,
    *_OF_STUDY,
    *_OF_PATIENT_IN_STUDY,
    *_OF_TRIAL,
    *_OF_SPECIMEN,
)
