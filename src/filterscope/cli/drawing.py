"""Commands that draw: show, ladder, rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from filterscope.cli.options import (
    Drawing,
    PixelSize,
    alpha_option,
    device_option,
    drawing_options,
    json_option,
    out_option,
    output_options,
    quiet_option,
    read_film,
    verbose_option,
    weights_option,
)
from filterscope.cli.output import Output, ready
from filterscope.errors import ArgumentError
from filterscope.sides import Size, size_text

if TYPE_CHECKING:
    from filterscope.networks import Network
    from filterscope.objective import Objective
    from filterscope.pictures import Picture


@click.command()
@click.argument("net")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@drawing_options(recipe="auto")
@click.option(
    "--judge", metavar="NET",
    help="Another network, which classifies each picture and, after `filterscope examples`, measures its legibility.",
)  # fmt: skip
@click.option("--judge-weights", metavar="FILE", help="Weights of the judge, as --weights for NET.")
@alpha_option
@output_options
def show(
    net: str,
    targets: tuple[str, ...],
    drawing: Drawing,
    judge: str | None,
    judge_weights: str | None,
    alpha: bool,
    frames: int | None,
    film: str,
    fps: float,
    weights: str | None,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw what units respond to.

    Writes one PNG per unit, a labelled sheet and a report. Several networks, NAME:NET + NAME:NET, are drawn as one: a
    picture for the sum of NAME:LAYER:UNIT of each; a target without a name means the same unit of each.

    \b
    filterscope show tiny-vgg16 block3_conv1
    filterscope show tiny-vgg16 block5_conv3:0-15 predictions:goldfish --out out/deep
    filterscope show vgg16 block3_conv1:34,22,240 --recipe blog --steps 300
    filterscope show tiny-vgg16 block4_conv2:17 --frames 32
    filterscope show tiny-vgg16 "concept(block4_conv3, nmf.npy, 17)"
    filterscope show "a:efficientnet-lite0 + b:efficientnet-lite1" classifier:goldfish

    "A -> B" draws what lies between two targets: 8 frames of (1 - t) A + t B, or --frames N of them, aligned, and with
    --frames also as an animation. Several units on a side give each pair; in a sum they give a grid of sums.

    \b
    filterscope show tiny-vgg16 "block4_conv2:7 -> block4_conv2:30" --frames 24
    filterscope show tiny-vgg16 "block4_conv2:7,30 + block4_conv2:7,30"
    """
    from filterscope.expression import Interpolation, parse

    if judge_weights is not None and judge is None:
        raise click.UsageError("--judge-weights needs --judge NET")
    recipe = drawing.ask_recipe()
    selections = [parse(text) for text in targets]
    animation = read_film(film, frames, fps)
    if frames:
        selections = [s.with_frames(frames) if isinstance(s, Interpolation) else s for s in selections]
    network = ready(net, weights, out)
    from filterscope.drawing.choice import count_pictures
    from filterscope.networks import open_network
    from filterscope.pictures import Sheet

    jury = None if judge is None else open_network(judge, weights=judge_weights)
    wanted = _targets(network, selections, drawing.seed)
    output = Output(out, of=count_pictures(network, wanted, recipe), quiet=quiet, alpha=alpha)
    try:
        with output:
            output.draw(
                network, wanted, recipe, drawing.run, lambda picture: picture.stem, film=animation, judge=jury
            )
    finally:
        if output.pictures:
            output.sheet("sheet.png", Sheet(output.pictures).to_pil)
    if as_json:
        click.echo(json.dumps(output.report(), indent=1))
    elif not quiet:
        _summary(output.pictures, out, animation.kind if frames else None)


def _targets(network: Network, selections: list, seed: int) -> list[Objective]:  # type: ignore[type-arg]
    goals = list(
        dict.fromkeys(t for selection in selections for t in network.objectives(selection, seed=seed))
    )
    from filterscope.rerun import remember_concepts

    remember_concepts(goals)
    stems: dict[str, Objective] = {}
    for goal in goals:
        if stems.setdefault(goal.stem, goal) is not goal:
            raise ArgumentError(
                f"{goal} and {stems[goal.stem]} would have one file: draw them into two folders, or rename one of the files "
                "of concepts"
            )
    return goals


def _summary(pictures: list[Picture], out: Path, film: str | None = None) -> None:
    for picture in pictures if len(pictures) <= 16 else []:
        scores = picture.scores
        target = f"{picture.target}" + (f" ~{picture.facet}" if picture.facet else "")
        line = (
            f"{target:24} {picture.class_name or '':16} {picture.status:8} activation {scores.activation:.4g}"
        )
        line += "" if scores.excitation is None else f"  excitation {scores.excitation:.2f}"
        line += "" if scores.probability is None else f"  probability {scores.probability:.1%}"
        line += "".join(
            f"  {t.target} {t.probability:.1%}" for t in scores.terms if t.probability is not None
        )
        if scores.legibility is not None:
            ceiling = scores.legibility_ceiling
            line += f"  legibility {scores.legibility:.0%}" + (f" of {ceiling:.0%}" if ceiling else "")
        if picture.judge is not None:
            rank = "" if picture.judge.rank is None else f", its class ranks {picture.judge.rank}"
            line += f"  {picture.judge.network}: {picture.judge.named} ({picture.judge.confidence:.0%}){rank}"
        click.echo(line)
    failed = [p for p in pictures if p.status != "ok"]
    word = "picture" if len(pictures) == 1 else "pictures"
    click.echo(
        f"{len(pictures)} {word} in {out}: sheet.png, report.json"
        + (f", an animation of each (*.{film})" if film else "")
        + (f"; {len(failed)} not ok" if failed else "")
    )


@click.command()
@click.argument("picture", type=click.Path(path_type=Path))
@weights_option
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder to write the new picture to."
)
@click.option(
    "--image", type=click.Path(path_type=Path), metavar="FILE", help="The photograph it was drawn from."
)
@click.option("--guide", type=click.Path(path_type=Path), metavar="FILE", help="The guide of the dream.")
@click.option(
    "--concepts", type=click.Path(path_type=Path), metavar="FILE",
    help="The file or folder of concepts it was drawn from.",
)  # fmt: skip
@click.option("--net", metavar="NET", help="The network, if it is your own file: path/to/file.py:factory.")
@click.option(
    "--size", metavar="PX|HxW", type=PixelSize(),
    help="Draw a picture with image=cppn at this size, from the weights in its file [the size it has].",
)  # fmt: skip
@device_option
@json_option
@quiet_option
def rerun(
    picture: Path, weights: str | None, out: Path | None, image: Path | None, guide: Path | None,
    concepts: Path | None, net: str | None, size: Size | None, device: str, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Draw a picture again from the recipe in its PNG.

    Reports how much the two differ. A picture that was drawn with --set image=cppn is a small network whose weights are in
    its file: with --size it is drawn at any size, in seconds and without an ascent, into DIR or beside itself.

    \b
    filterscope rerun out/block3_conv1-0034.png
    filterscope show tiny-vgg16 predictions:goldfish --set image=cppn
    filterscope rerun out/predictions-0000.png --size 2048
    """
    from filterscope.files import check_writable

    if out is not None:
        check_writable(out)
    from filterscope.commands.drawing import redraw
    from filterscope.report import update_report

    again = redraw(
        picture, weights=weights, image=image, guide=guide, concepts=concepts, net=net, device=device, size=size,
        progress=False if quiet else None,
    )  # fmt: skip
    path = out / f"{picture.stem}.png" if out else None
    if size is not None and (path is None or path.resolve() == picture.resolve()):
        out = picture.parent
        path = picture.with_stem(f"{picture.stem}-{size_text(size)}")
    if path and path.resolve() == picture.resolve():
        path = path.with_suffix(".rerun.png")  # never over what it was drawn from
    if path and out:
        again.picture.save(path)
        update_report(out, [again.picture.report(path.name)])
    if as_json:
        click.echo(json.dumps({**again.summary(), "file": str(path) if path else None}, indent=1))
    elif not quiet:
        click.echo(again.describe())
        if path:
            click.echo(f"written to {path}")


@click.command()
@click.argument("net")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@drawing_options(recipe=None)
@weights_option
@out_option
@json_option
@quiet_option
def ladder(
    net: str,
    targets: tuple[str, ...],
    drawing: Drawing,
    weights: str | None,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw the blog's four stages side by side.

    Targets are rows, and the stages naive, linear, lp and tv are columns. A class has its probability under it.

    \b
    filterscope ladder tiny-vgg16 predictions:goldfish,monarch,lion,pizza
    """
    from filterscope.expression import parse
    from filterscope.progress import progress_bar

    selections = [parse(text) for text in targets]
    from filterscope.drawing.ladder import draw_ladder
    from filterscope.recipe import LADDER

    columns = [*LADDER, drawing.recipe] if drawing.recipe else LADDER
    recipes = [drawing.get_recipe(name) for name in columns]
    network = ready(net, weights, out)
    wanted = _targets(network, selections, drawing.seed)
    with (
        Output(out, of=len(wanted) * len(recipes), quiet=quiet) as output,
        progress_bar(False if quiet else None) as on_step,
    ):
        result = draw_ladder(
            network, wanted, recipes, drawing.run,
            on_step=on_step, on_picture=lambda p: output.save(p, f"{p.recipe.name}/{p.stem}.png"),
        )  # fmt: skip
        output.order(f"{p.recipe.name}/{p.stem}.png" for row in result.rows for p in row)
    output.sheet("ladder.png", result.to_pil)
    if as_json:
        click.echo(json.dumps(output.report(), indent=1))
    elif not quiet:
        click.echo(f"{len(output.rows)} pictures in {out}: ladder.png, report.json")


@click.command()
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), default=Path("filterscope-demo"), show_default=True,
    help="Folder to write to.",
)  # fmt: skip
@verbose_option
@quiet_option
def demo(out: Path, quiet: bool) -> None:
    """Draw a tour of tiny-vgg16 on one page, offline.

    It takes about a minute.
    """
    from filterscope.files import check_writable

    check_writable(out)
    from filterscope.commands.demo import draw_demo
    from filterscope.networks import open_network

    draw_demo(
        open_network("tiny-vgg16"),
        out,
        shown=False if quiet else None,
        say=lambda line: None if quiet else click.echo(line),
    )
