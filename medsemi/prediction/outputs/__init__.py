"""The files of a case: label maps, DICOM segmentations, volumes, pictures, the record."""
