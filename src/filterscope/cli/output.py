"""What a command has written into its folder, for its sheet and its part of report.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from filterscope.files import is_dangling
from filterscope.report import add_to_report, read_report, stamped

if TYPE_CHECKING:
    from PIL import Image

    from filterscope.cli.options import Film
    from filterscope.drawing.run import Run
    from filterscope.networks import Network
    from filterscope.objective import Objective
    from filterscope.pictures import Picture
    from filterscope.pictures.reading import Photograph
    from filterscope.recipe import AutoRecipe, Recipe


def require_picture(path: Path) -> None:
    """UsageError where a picture that is named as an argument is no file."""
    if path.is_file():
        return
    said = f"there is no picture {str(path)!r}"
    if path.is_dir():
        said = f"{str(path)!r} is a folder: name a picture in it"
    elif is_dangling(path):
        said = f"{str(path)!r} is a link to a file that is not there"
    raise click.UsageError(said)


class Output:
    """Counts a picture when `save` has returned, whatever the clocks of this machine and its disks say.

    with Output(folder, of=16, quiet=quiet) as output:
        output.save(picture, "block3_conv1-0034.png")
    # Ctrl-C too leaves a report of what is finished
    """

    def __init__(self, folder: Path, *, of: int, quiet: bool = False, alpha: bool = False):
        self.folder = folder
        self.alpha = alpha
        self.of = of
        self.quiet = quiet
        self.pictures: list[Picture] = []
        self.rows: list[dict[str, Any]] = []
        self.films: list[Path] = []
        self._begun: tuple[Picture, str, dict[str, Any]] | None = None

    def __enter__(self) -> Self:
        return self

    @property
    def files(self) -> list[str]:
        """The pictures' files, within the folder."""
        return [row["file"] for row in self.rows]

    def save(self, picture: Picture, file: str, **more: Any) -> Path:
        """Write a picture, and if that is asked for the one with an alpha channel; `more` is added to its row."""
        if self.alpha:
            shown = Path(file).with_suffix(".alpha.png")
            picture.save(self.folder / shown, alpha=True)
            more["alpha"] = shown.as_posix()
        self._begun = (picture, file, more)
        path = picture.save(self.folder / file)
        self._count()
        return path

    def order(self, files: Iterable[str]) -> None:
        """Put the rows in the order of these files."""
        places = {file: place for place, file in enumerate(files)}
        self.rows.sort(key=lambda row: places[row["file"]])

    def draw(
        self,
        network: Network,
        goals: Sequence[Objective],
        recipe: Recipe | AutoRecipe,
        run: Run,
        stem: Callable[[Picture], str],
        *,
        film: Film,
        photographs: Mapping[str, Photograph] | None = None,
        judge: Network | None = None,
    ) -> None:
        """Draw the goals, and save each picture, and its animation, as soon as it is finished."""
        from filterscope.drawing.draw import draw
        from filterscope.drawing.recording import Recorder, record_again
        from filterscope.objective import Between
        from filterscope.progress import progress_bar

        first = photographs["image"].image if photographs else None
        recorder = Recorder(film.frames, first=first) if film.frames else None
        between: list[Picture] = []  # frames of what lies between two targets
        with progress_bar(False if self.quiet else None, also=recorder) as on_step:
            for number, picture in enumerate(
                draw(network, goals, recipe, run, photographs=photographs, judge=judge, on_step=on_step)
            ):
                name = stem(picture)
                self.save(picture, f"{name}.png", **_of_photograph(picture))
                if recorder is None:
                    continue
                if isinstance(picture.target, Between):
                    between.append(picture)
                    if picture.target.frame == picture.target.frames == len(between):
                        self._film_between(between, film)
                    between = between if picture.target.frame < picture.target.frames else []
                    continue
                path, image = self.folder / f"{name}.{film.kind}", picture.to_pil()
                if photographs:
                    recorder.save(number, path, finished=image, curve=False, fps=film.fps)
                    self.add_film(path)
                elif picture.attempt:
                    again = record_again(network, picture, run, film.frames)
                    again.save(0, path, finished=image, curve=True, fps=film.fps)
                else:
                    recorder.save(number, path, finished=image, curve=True, fps=film.fps)

    def _film_between(self, pictures: Sequence[Picture], film: Film) -> None:
        """Write the animation of all frames between two targets, and note it in the row of each."""
        from filterscope.objective import Between
        from filterscope.pictures.animation import save_between

        goal = pictures[0].target
        assert isinstance(goal, Between)
        path = save_between(pictures, self.folder / f"{goal.path_stem}.{film.kind}", fps=film.fps)
        self.films.append(path)
        for row in self.rows[-len(pictures) :]:
            row["animation"] = path.name

    def add_film(self, path: Path) -> None:
        """Note an animation in the row of the picture it ends with."""
        self.films.append(path)
        self.rows[-1]["animation"] = path.name

    def __exit__(self, *_: object) -> None:
        """Add the rows to the folder's report, if there are any; where fewer than `of` were finished that is said."""
        if self._begun is not None and self._is_written():
            self._count()
        if self.rows:
            add_to_report(self.folder, self.rows)
        if 0 < len(self.rows) < self.of:
            click.echo(
                f"filterscope: {len(self.rows)} of {self.of} pictures were finished and are kept in {self.folder}",
                err=True,
            )

    def report(self) -> list[dict[str, Any]]:
        """The rows as they stand in the report."""
        return stamped(self.rows)

    def sheet(self, name: str, image: Callable[[], Image.Image], shown: Sequence[str] | None = None) -> None:
        """Write a sheet of the pictures; one of others that was there is kept beside it, and that is said."""
        from filterscope.pictures.sheet import save_sheet

        say_kept(save_sheet(image(), self.folder / name, self.files if shown is None else shown), self.quiet)

    def _count(self) -> None:
        assert self._begun is not None
        (picture, file, more), self._begun = self._begun, None
        self.pictures.append(picture)
        self.rows.append({**picture.report(file), **more})

    def _is_written(self) -> bool:
        """Whether Ctrl-C fell between a picture's file and its being counted: the file then has its very bytes."""
        assert self._begun is not None
        path = self.folder / self._begun[1]
        try:
            return path.read_bytes() == self._begun[0].encoded()
        except OSError:
            return False


def _of_photograph(picture: Picture) -> dict[str, Any]:
    """What the row of a picture of a photograph has besides: its file, and the activation of the photograph itself."""
    if not picture.photographs:
        return {}
    return {"photograph": picture.photographs["image"]["file"], "start": picture.scores.start}


def ready(net: str, weights: str | None, out: Path) -> Network:
    """The network, opened once the folder is known to take what will be written."""
    from filterscope.report import check_folder

    check_folder(out)
    from filterscope.networks import open_network
    from filterscope.rerun import remember_weights

    network = open_network(net, weights=weights)
    remember_weights(network)
    return network


def save_and_report(
    image: Image.Image, path: Path, shown: Sequence[str], row: Mapping[str, Any], quiet: bool
) -> None:
    """Write a sheet that is a command's only picture, and its row in the report; one of others that was there is kept
    beside it with its own row, and that is said."""
    from filterscope.pictures.sheet import save_sheet

    before = [told for told in read_report(path.parent) if told.get("file") == path.name]
    moved = save_sheet(image, path, shown)
    say_kept(moved, quiet)
    kept = [{**told, "file": moved.name} for told in before] if moved else []
    add_to_report(path.parent, [*kept, {"file": path.name, **row}])


def say_kept(moved: Path | None, quiet: bool) -> None:
    """Say where a sheet of other pictures that was there is now."""
    if moved is not None and not quiet:
        click.echo(f"filterscope: the sheet of other pictures that was there is now {moved}", err=True)
