"""``serve``, ``web``, ``echo``, ``check-config`` and ``version``."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import typer

from negvol_pacs import __version__, config
from negvol_pacs.commands.console import DEFAULT_CONFIG, ConfigFile, complain, exit_code, fail, out
from negvol_pacs.errors import ConfigError, NegvolError, NetworkError
from negvol_pacs.workflow.process import Exit


class Role(StrEnum):
    """Which process of the node."""

    RECEIVER = "receiver"
    WORKER = "worker"
    WEB = "web"


def serve(
    config_file: ConfigFile = DEFAULT_CONFIG,
    only: Annotated[Role | None, typer.Option(help="Run one process instead of supervising all.")] = None,
    executor: Annotated[str | None, typer.Option(help="Name of this worker, in place of node.executor_id.")] = None,
) -> None:
    """Run the node until SIGTERM or Ctrl-C: receive, measure, send results back."""
    from negvol_pacs import log
    from negvol_pacs.workflow import process

    process.die_with_parent()
    os.umask(0o077)  # images and reports are for the service alone
    try:
        settings = config.load(config_file)
    except ConfigError as error:
        fail(str(error), Exit.CONFIG)
    if executor is not None:
        settings = settings.model_copy(update={"node": settings.node.model_copy(update={"executor_id": executor})})
    log.configure(settings.log)
    if only is None:
        raise typer.Exit(_supervise(settings, config_file))
    try:
        _run(only, settings, config_file)
    except Exception as error:
        code = process.ailment(error)
        if isinstance(error, NegvolError):
            code, said = code or exit_code(error), error.code
        elif code is not None:
            said = code.name.lower().replace("_", "-")
        else:
            raise
        structlog.get_logger().error("process-failed", code=said, reason=str(getattr(error, "orig", error)))
        raise typer.Exit(code) from error


def web(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the status page alone, where [web] in the configuration says."""
    serve(config_file, Role.WEB)


def web_user(
    name: Annotated[str, typer.Argument(help="User name.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Ask for a password and print the line for web.password_file."""
    from negvol_pacs.web.passwords import line

    typer.echo(line(name, password))


def _supervise(settings: config.Config, config_file: Path) -> int:
    from negvol_pacs.workflow import layout, process
    from negvol_pacs.workflow.engine import migrate
    from negvol_pacs.workflow.supervise import negvol, supervise

    state = settings.node.state
    layout.require_whole(state)
    migrate(state)
    with process.exclusive(layout.lock(state, "node")):
        roles = [role for role in Role if role is not Role.WEB or settings.web.enabled]
        commands = {role.value: negvol("serve", "--only", role, "--config", str(config_file)) for role in roles}
        return supervise(commands, settings.node.drain_s + 30)


def _run(role: Role, settings: config.Config, config_file: Path) -> None:
    # Imported here: the receiver never loads torch.
    if role is Role.RECEIVER:
        from negvol_pacs.workflow.receiver import run
    elif role is Role.WEB:
        from negvol_pacs.workflow.status_page import run
    else:
        from negvol_pacs.workflow.worker import run
    run(settings, config_file)


def echo(
    destination: Annotated[str | None, typer.Argument(help="Name in the configuration; all when left out.")] = None,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """C-ECHO the destinations of the configuration."""
    from negvol_pacs.network.sender import echo as verify

    settings = config.load(config_file)
    names = [item.name for item in settings.destinations]
    if destination is not None and destination not in names:
        raise ConfigError(f"no destination {destination} in {config_file}; there are: {', '.join(names) or 'none'}")
    failed = False
    for item in settings.destinations:
        if destination in (None, item.name):
            try:
                out.print(f"{item.name}: answered in {1000 * verify(item, settings):.0f} ms")
            except NetworkError as error:
                failed = True
                complain(f"{item.name}: {error}")
    if failed:
        raise typer.Exit(Exit.NETWORK)


def rebuild(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Make damaged databases anew from the images that were received; the node must not run."""
    from negvol_pacs.workflow.rebuild import rebuild_state

    settings = config.load(config_file)
    found = rebuild_state(settings)
    if found is None:
        out.print("the ledger is whole and was kept; the workflow's database is new")
        return
    out.print(f"the ledger is new: {found.instances} images of {found.studies} studies, which are measured again")
    out.print(f"{found.results} results of the outbox are known again")
    for name, count in (+found.kept).items():
        out.print(f"read of the damaged one: {count} {name}")
    for path, reason in found.left.items():
        complain(f"left out: {path}: {reason}")


def check_config(
    config_file: Annotated[Path, typer.Argument(envvar="NEGVOL_CONFIG")] = DEFAULT_CONFIG,
) -> None:
    """Check a configuration file; name every unknown key and bad value."""
    from negvol_pacs.network import tls
    from negvol_pacs.web import server

    settings = config.load(config_file)
    tls.check(settings)
    server.check(settings.web)
    if not settings.peers:
        out.print("note: no peers, so every association is rejected", style="yellow")
    if not settings.destinations:
        out.print("note: no destinations, so results stay in the outbox", style="yellow")
    out.print(f"{config_file}: OK", markup=False, soft_wrap=True)


def version(config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Print the versions that a result depends on: package, weights, torch, device."""
    import torch

    from negvol_pacs.segmentation.weights import load_networks, resolve_device

    settings = config.load(config_file) if config_file.exists() else config.Config()
    out.print(f"negvol-pacs {__version__}")
    out.print(f"torch {torch.__version__}, device {resolve_device(settings.pipeline)}")
    networks = load_networks(settings.pipeline.models)
    out.print(f"weights {networks.version}, sha256 {networks.sha256}", soft_wrap=True)
