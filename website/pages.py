"""The pages that nobody writes: the reference of every public name, and the programs' own help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from click.testing import CliRunner

import filterscope as fs
from filterscope.cli import cli
from website import surface

GROUP = re.compile(r"^(\w[\w ]{13} )(\S.*)$")  # two aligned columns, of which the second begins at 15
OTHERS = "results and other types"
WIDTH = 100


def reference_groups() -> dict[str, list[str]]:
    """Every public name, under the headings of the package's own docstring; what it does not name stands last."""
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in (fs.__doc__ or "").splitlines():
        match = GROUP.match(line)
        if not line.strip():
            heading = ""
        elif match:
            heading = match[1].strip()
        if heading and (match or line.startswith(" ")):
            words = re.findall(r"[A-Za-z_]\w*(?:\.\w+)*", match[2] if match else line)
            groups.setdefault(heading, []).extend(word for word in words if _is_public(word))
    placed = {name for names in groups.values() for name in names}
    errors = [name for name in fs.__all__ if _is_error(name)]
    groups["errors"] = sorted({*groups.get("errors", []), *errors})
    rest = [name for name in fs.__all__ if name not in placed and name not in errors]
    return {**{name: names for name, names in groups.items() if names}, OTHERS: rest}


def _is_public(word: str) -> bool:
    """Whether it is a name of the package's, or of one of its public modules: `keras.VisualizeUnits`."""
    first, _, rest = word.partition(".")
    return first in fs.__all__ or bool(rest and first in ("keras", "lightning"))


def _is_error(name: str) -> bool:
    value = getattr(fs, name)
    return inspect.isclass(value) and issubclass(value, Exception)


def slug(heading: str) -> str:
    """A heading as a file name."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def reference_pages() -> Iterator[tuple[str, str, str]]:
    """(path, title, Markdown) of each page of the Python reference, the table of all names first."""
    groups = reference_groups()
    rows = [
        f"| [`{name}`]({slug(heading)}.md#filterscope.{name}) | {heading} | {summary(name)} |"
        for heading, names in groups.items()
        for name in names
    ]
    head = "Every public name, after `import filterscope as fs`. [The commands](cli/index.md) have the same options."
    table = "\n".join(["| name | of | what it is |", "|---|---|---|", *rows])
    yield "reference/index.md", "Python", f"# Python\n\n{head}\n\n{table}\n"
    for heading, names in groups.items():
        blocks = "\n\n".join(map(block, names))
        yield f"reference/{slug(heading)}.md", heading.capitalize(), f"# {heading.capitalize()}\n\n{blocks}\n"


def block(name: str) -> str:
    """What mkdocstrings makes a name's text of."""
    if name not in surface.OWN_PART:
        return f"::: filterscope.{name}"
    heading = f"## {name} {{ #filterscope.{name} }}"
    return (
        f"{heading}\n\n::: filterscope.{surface.OWN_PART[name]}\n    options:\n      show_root_heading: false"
    )


def summary(name: str) -> str:
    """The first sentence of a name's docstring, as a cell of a table."""
    value = surface.value_of(name)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return f"`{value!r}`" if isinstance(value, str) else "the presets by name"
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    first = re.split(r"(?<=[.:;])\s", text)[0].rstrip(".:;")
    return first.replace("|", r"\|").replace("*", r"\*").replace("[", r"\[").replace("<", r"\<")


def command_pages() -> Iterator[tuple[str, str, str]]:
    """(path, title, Markdown) of each page of the command line: what `--help` prints."""
    commands = list(cli.commands.items())
    rows = [f"| [`{name}`]({name}.md) | {one.get_short_help_str(300)} |" for name, one in commands]
    table = "\n".join(["| command | what it does |", "|---|---|", *rows])
    yield (
        "reference/cli/index.md", "Commands",
        f"# Commands\n\n{table}\n\n## filterscope --help\n\n{_fenced(help_text())}\n",
    )  # fmt: skip
    for name, command in commands:
        text = f"# filterscope {name}\n\n{_fenced(help_text(name))}\n"
        if isinstance(command, click.Group):
            text += "".join(
                f"\n## filterscope {name} {inner}\n\n{_fenced(help_text(name, inner))}\n"
                for inner in command.commands
            )
        yield f"reference/cli/{name}.md", name, text


def help_text(*names: str) -> str:
    """What a command prints for --help."""
    done = CliRunner().invoke(
        cli, [*names, "--help"], prog_name="filterscope", terminal_width=WIDTH, catch_exceptions=False
    )
    return done.output.rstrip()


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"
