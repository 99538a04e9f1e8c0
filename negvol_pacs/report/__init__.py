"""Findings as DICOM objects and pictures."""
