"""The commands of ``negvol``: what is asked for and printed; the work is done in the rooms."""
