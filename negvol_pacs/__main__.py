"""``python -m negvol_pacs`` is ``negvol``."""

from negvol_pacs.cli import main

if __name__ == "__main__":
    main()
