"""Phantoms: heads from formulas, and any head as a CT series."""

from negvol_pacs.training.phantom.head import Head, make_head
from negvol_pacs.training.phantom.series import write_phantom

__all__ = ["Head", "make_head", "write_phantom"]
