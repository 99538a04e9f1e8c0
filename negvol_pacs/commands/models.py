"""``models``: which networks the pipeline runs with, whether they are sound, and how to put in others."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from negvol_pacs import config
from negvol_pacs.commands.console import DEFAULT_CONFIG, ConfigFile, complain, out
from negvol_pacs.errors import ConfigError
from negvol_pacs.workflow.process import Exit

app = typer.Typer(name="models", help="The networks: list, verify, install.", no_args_is_help=True)

Models = Annotated[
    Path | None, typer.Option("--models", file_okay=False, help="Folder of bundles; default: pipeline.models.")
]


@app.command("list")
def list_models(models: Models = None, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """List the networks that the pipeline runs with."""
    from negvol_pacs.segmentation.library import entries

    table = Table("Bundle", "Version", "Network", "Weights", "Grid", "SHA-256 of the weights", "Description")
    for entry in entries(_folder(models, config_file)):
        said = entry.error or entry.description
        table.add_row(
            entry.name,
            entry.version,
            entry.network,
            f"{entry.parameters:,}",
            f"{entry.spacing_mm:g} mm",
            entry.sha256[:16],
            said,
        )
    out.print(table)


@app.command()
def verify(models: Models = None, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Check every network's files against their hashes, and load them; exit code 1 when one is refused."""
    from negvol_pacs.segmentation.library import entries

    found = entries(_folder(models, config_file))
    for entry in found:
        if entry.error:
            complain(f"{entry.name}: refused. {entry.error}")
        else:
            out.print(f"{entry.name} {entry.version}: sound, sha256 {entry.sha256}", markup=False, soft_wrap=True)
    if any(entry.error for entry in found):
        raise typer.Exit(Exit.ERROR)


@app.command()
def install(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Zip file of a bundle's folder.")],
    models: Models = None,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Put another network in place; wrong or altered weights are refused, and the former ones stay beside."""
    from negvol_pacs.segmentation.library import install as put_in

    folder = _folder(models, config_file)
    if folder is None:
        raise ConfigError("Say where the networks are kept: pipeline.models in the configuration, or --models.")
    entry = put_in(file, folder)
    out.print(f"{entry.name} {entry.version} is installed in {folder}", markup=False, soft_wrap=True)
    out.print("Workers take it at their next start.")


def _folder(models: Path | None, config_file: Path) -> Path | None:
    if models is not None or not config_file.exists():
        return models
    return config.load(config_file).pipeline.models
