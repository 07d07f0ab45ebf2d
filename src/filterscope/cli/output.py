"""What a command has written into its folder, for its sheet and its part of report.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterscope.report import add_to_report, stamped

if TYPE_CHECKING:
    from PIL import Image

    from filterscope.pictures import Picture


class Output:
    """Counts a picture when `save` has returned, whatever the clocks of this machine and its disks say.

    output = Output(folder, quiet=quiet)
    try:
        output.save(picture, "block3_conv1-0034.png")
    finally:
        output.finish(of=16)       # Ctrl-C too leaves a report of what is finished
    """

    def __init__(self, folder: Path, *, quiet: bool = False):
        self.folder = folder
        self.quiet = quiet
        self.pictures: list[Picture] = []
        self.rows: list[dict[str, Any]] = []
        self._begun: tuple[Picture, str, dict[str, Any]] | None = None

    @property
    def files(self) -> list[str]:
        """The pictures' files, within the folder."""
        return [row["file"] for row in self.rows]

    def save(self, picture: Picture, file: str, **more: Any) -> Path:
        """Write a picture; `more` is added to its row."""
        self._begun = (picture, file, more)
        path = picture.save(self.folder / file)
        self._count()
        return path

    def order(self, files: Iterable[str]) -> None:
        """Put the rows in the order of these files."""
        places = {file: place for place, file in enumerate(files)}
        self.rows.sort(key=lambda row: places[row["file"]])

    def finish(self, *, of: int) -> None:
        """Add the rows to the folder's report, if there are any; where fewer than `of` were finished that is said."""
        if self._begun is not None and self._is_written():
            self._count()
        if self.rows:
            add_to_report(self.folder, self.rows)
        if 0 < len(self.rows) < of:
            click.echo(
                f"filterscope: {len(self.rows)} of {of} pictures were finished and are kept in {self.folder}",
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


def say_kept(moved: Path | None, quiet: bool) -> None:
    """Say where a sheet of other pictures that was there is now."""
    if moved is not None and not quiet:
        click.echo(f"filterscope: the sheet of other pictures that was there is now {moved}", err=True)
