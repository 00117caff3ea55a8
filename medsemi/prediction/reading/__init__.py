"""Voxels: from the files of a case to one array, or a code that says why not.

`pixels` decodes one DICOM image, `volume` reads a case. Import those; this module stays empty so
that `medsemi inspect`, which needs a digest of pixels at most, loads no library for volumes.
"""
