"""DICOM PACS node for deep negative volumes of the temporomandibular joint."""

from importlib.metadata import version

__version__ = version("negvol-pacs")
