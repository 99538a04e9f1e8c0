"""The command line: ``negvol``.

Exit codes: 0 done; 1 an error, said in one sentence; 2 wrong usage; 3 the series was refused;
4 a peer could not be reached or refused; 5 no result in time; 65, 70, 74, 75 and 78 of ``serve``:
database damaged, worker unusable, disk full, already running, bad configuration.
"""

import sys

import typer

from negvol_pacs import log
from negvol_pacs.commands import cohort, dataset, models, node, offline, queue, training, validate
from negvol_pacs.commands.console import complain, exit_code
from negvol_pacs.config import Log
from negvol_pacs.errors import NegvolError

app = typer.Typer(
    name="negvol",
    help="DICOM PACS node for deep negative volumes of the temporomandibular joint. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(node.serve)
app.command()(node.web)
app.command("web-user")(node.web_user)
app.command()(offline.process)
app.command()(node.echo)
app.command("check-config")(node.check_config)
app.add_typer(queue.app, name="queue")
app.command()(node.rebuild)
app.add_typer(models.app, name="models")
app.command()(cohort.cohort)
app.command()(offline.demo)
app.command()(offline.phantom)
app.command()(training.train)
app.command()(training.evaluate)
app.add_typer(dataset.app, name="dataset")
app.command()(validate.validate)
app.command()(node.version)


def main() -> None:
    """Run ``negvol``; an error that the package raises on purpose is one sentence, no traceback."""
    log.configure(Log(level="error"))  # `serve` does it again, by its configuration
    try:
        app()
    except NegvolError as error:
        complain(" ".join([str(error), *getattr(error, "__notes__", ())]))
        sys.exit(exit_code(error))
