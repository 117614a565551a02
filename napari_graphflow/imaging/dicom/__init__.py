"""DICOM series: headers, pixels, geometry."""
