"""``train`` and ``evaluate``: make a network's weights, fine-tune them on outlined cases, compare networks."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from negvol_pacs.commands.console import out
from negvol_pacs.commands.offline import progress_bar


class Network(StrEnum):
    """Which network is trained."""

    LOCALIZER = "localizer"
    BONES = "bones"


def train(
    network: Annotated[Network, typer.Argument(help="Which network.")],
    *,
    recipe_file: Annotated[
        Path | None, typer.Option("--config", exists=True, dir_okay=False, help="Recipe, TOML; options go before it.")
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="One turn of the correction loop, on the cases of --dataset.")
    ] = False,
    dataset: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Outlined cases, see negvol dataset.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", file_okay=False, help="The bundle; models/NETWORK by default.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="vnet, unet, attention-unet or multiplanar-unet.", show_default="vnet")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="ce, dice, dice+ce, gap-ce or gap-dice+ce.", show_default="gap-dice+ce")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, show_default="4000")] = None,
    shapes: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Real shapes beside the procedural heads.")
    ] = None,
    heads: Annotated[int | None, typer.Option(min=0, help="Number of procedural heads.", show_default="4")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.", show_default="0")] = None,
    channels: Annotated[
        tuple[int, int, int, int] | None, typer.Option(help="Width of each level.", show_default="8 16 32 64")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Of the V-Net's entry; 2 halves the grid at once.", show_default="1")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples a step.", show_default="1")] = None,
    window: Annotated[
        int | None, typer.Option(min=16, help="Voxels along each edge that the network sees.", show_default="88")
    ] = None,
    patch: Annotated[int | None, typer.Option(min=16, help="The same in training, where it differs.")] = None,
    start: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Bundle whose weights training starts from.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="The highest of the cycle.", show_default="0.003")
    ] = None,
    pool: Annotated[int | None, typer.Option(min=1, help="Painted heads to draw from.", show_default="200")] = None,
    per_step: Annotated[
        float | None, typer.Option(min=0.0, help="Fresh painted heads a step.", show_default="0.12")
    ] = None,
    painters: Annotated[
        int | None, typer.Option(min=0, help="Processes that paint heads; 0: none but this.", show_default="1")
    ] = None,
    weights_version: Annotated[
        str | None, typer.Option("--weights-version", help="Written into the bundle.", show_default="0.1.0")
    ] = None,
    runs: Annotated[
        Path, typer.Option(file_okay=False, help="Prepared heads, checkpoints, curves; an interrupted run goes on.")
    ] = Path("runs"),
) -> None:
    """Train a network on synthetic heads and outlined cases, and write it as a MONAI bundle with its model card."""
    from negvol_pacs.segmentation.shipped import models_folder
    from negvol_pacs.training import finetune as loop
    from negvol_pacs.training.recipe import load_recipe
    from negvol_pacs.training.train import train as run

    given: dict[str, Any] = {
        "architecture": architecture, "loss": loss, "steps": steps, "shapes": shapes, "heads": heads,
        "seed": seed, "channels": channels, "stride": stride, "batch": batch, "window": window, "patch": patch,
        "start": start, "learning_rate": learning_rate, "pool": pool, "per_step": per_step, "painters": painters,
        "version": weights_version, "dataset": dataset, "output": output,
    }  # fmt: skip
    said = {"network": network.value, "command": ("negvol", *sys.argv[1:])}
    defaults: dict[str, Any] = {"output": Path("models") / network.value}
    if finetune:
        defaults |= loop.FIELDS | loop.recipe_of(start or models_folder() / network.value)
    recipe = load_recipe(recipe_file, given | said, defaults)
    with progress_bar() as bar:
        task = bar.add_task("making heads", total=float(recipe.steps))

        def show(step: int, _steps: int, value: float) -> None:
            bar.update(task, completed=step, description=f"step {step}, loss {value:.3f}")

        if finetune:
            turn, advised = loop.finetune(recipe, runs, show)
        else:
            figures = run(recipe, runs, show)
    if finetune:
        unseen = "cases not seen before" if turn.new else "cases, all seen before"
        for who, what in ((f"before, {unseen}", turn.before), ("after, all cases (trained on)", turn.after)):
            gap = "none" if what.gap_dice is None else f"{what.gap_dice:.3f}"
            out.print(f"{who}: {what.joints} joints, |E| {what.collisions:.0f}, GapDice {gap}", markup=False)
        out.print(advised, markup=False, soft_wrap=True)
    else:
        for name, value in figures.items():
            out.print(f"{name}: {value:.3f}", markup=False)
    out.print(str(recipe.output), markup=False, soft_wrap=True)


def evaluate(
    *,
    study_file: Annotated[
        Path | None, typer.Option("--config", exists=True, dir_okay=False, help="Study, TOML; default: the full one.")
    ] = None,
    output: Annotated[Path, typer.Option("--out", "-o", dir_okay=False)] = Path("evaluation.md"),
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of hours, to see that it works.")] = False,
    runs: Annotated[
        Path, typer.Option(file_okay=False, help="Figures of what is done; an interrupted evaluation goes on.")
    ] = Path("runs/evaluation"),
    finished: Annotated[
        bool, typer.Option("--finished", help="Report what is finished in --runs; train nothing but --cross-head's.")
    ] = False,
    recipes: Annotated[
        list[Path] | None,
        typer.Option(
            "--cross-head",
            exists=True,
            dir_okay=False,
            help="Recipe of a training that leaves out real heads (without = [...]): it is done, and tested on them.",
        ),
    ] = None,
) -> None:
    """Compare networks and losses on synthetic heads, k-fold by patient, in the layout of the paper's Table 2."""
    from negvol_pacs.training.evaluation.cross_head import cross_head
    from negvol_pacs.training.evaluation.report import write_report
    from negvol_pacs.training.evaluation.run import evaluate as run
    from negvol_pacs.training.evaluation.study import QUICK, Study, load_study
    from negvol_pacs.training.recipe import load_recipe
    from negvol_pacs.validation.whole_heads import whole_heads_left_out

    study = QUICK if quick else Study() if study_file is None else load_study(study_file)
    with progress_bar() as bar:
        task = bar.add_task("painting the patients", total=1.0)

        def show(what: str, share: float) -> None:
            bar.update(task, completed=share, description=what)

        rows = run(study, runs, show, finished=finished)
        crossed = []
        for file in recipes or []:
            bar.update(task, completed=0.0, description=file.stem)
            recipe = load_recipe(file, {"output": runs})  # the bundle goes into its own folder there
            crossed.append(
                cross_head(recipe, runs, progress=lambda step, steps, _loss: bar.update(task, completed=step / steps))
            )
        wholes = whole_heads_left_out(crossed, runs, lambda what: bar.update(task, description=what))
    for path in write_report(study, rows, output, crossed, wholes):
        out.print(str(path), markup=False, soft_wrap=True)
