"""What the documentation's pages show: their commands are the command line's, their Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from filterscope.cli import cli, main
from filterscope.expression import parse
from website import HOME, snippets

PAGES = [page for page in snippets.pages() if page.parent != HOME]  # of the READMEs: test_readme.py
NAMES = [str(page.relative_to(HOME)) for page in PAGES]
WITH_PYTHON = [page for page in PAGES if any(one.kind == "python" for one in snippets.blocks(page))]


def check(line: str, tiny) -> None:
    """The command and its options are there; its targets are some, of the embedded network's where it is that one."""
    name, *arguments = shlex.split(line)[1:]
    if name.startswith("--"):
        name, arguments = "models", []
    made = cli.commands[name].make_context(name, list(arguments))
    for option in cli.commands[name].params:  # click takes the last of several without a word
        assert getattr(option, "multiple", False) or sum(map(arguments.count, option.opts)) < 2, option.opts
    found = made.params
    targets = (
        found.get("targets") or [found.get("target")]
        if "image" not in found or name != "dream"
        else [found["target"]]
    )
    for text in filter(None, targets):
        if name == "explain" and ":" not in text:  # a class by its name alone
            text = f"predictions:{text}"
        if "tiny-vgg16" in (found.get("net"), found.get("net_a")) and "concept(" not in text:
            assert tiny.objectives(text)
        else:
            parse(text)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_the_command_lines(page: Path, there: Path, tiny):
    """Also those that need a cluster, a server or a download, which are not run."""
    for block in snippets.blocks(page):
        for line in block.commands:
            try:
                check(line, tiny)
            except (click.ClickException, KeyError) as error:
                pytest.fail(f"{block.page}: {line}: {error}")


@pytest.mark.parametrize("page", WITH_PYTHON, ids=[str(page.relative_to(HOME)) for page in WITH_PYTHON])
def test_python_runs(page: Path, there: Path, few_steps, capsys):
    """A page's blocks one after the other, as a reader would; a block that begins with a file's name is that file. Commands
    about that page's own files run too."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in snippets.blocks(page):
        if block.reason:
            continue
        if block.kind == "python":
            code = compile(block.text, block.page, "exec")
            title = re.match(r"# (\w+\.py)\n", block.text)
            if title:
                (there / title[1]).write_text(block.text, encoding="utf-8")
                import sys

                sys.modules.pop(title[1].removesuffix(".py"), None)
            exec(code, names)
        for line in block.commands:
            if "mine." in line:
                assert (
                    main([*shlex.split(line)[1:], "--quiet"] if " show " in line else shlex.split(line)[1:])
                    == 0
                ), line


def test_of_others_code_is_code():
    """It is quoted, not run; and what is not run says why."""
    found = [block for page in PAGES for block in snippets.blocks(page) if block.reason]
    assert any(block.theirs for block in found)
    for block in found:
        assert len(block.reason.split()) > 1, block
        if block.theirs:
            compile(block.text, block.page, "exec")


def test_settings_in_tables_are_settings():
    """`settings={...}` in a table of another library's names: some recipe takes them."""
    from filterscope.errors import RecipeError
    from filterscope.recipe import PRESETS, get_recipe

    def taken(preset: str, settings: dict) -> bool:
        try:
            get_recipe(preset, settings=settings)
        except RecipeError:
            return False
        return True

    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    found = [text for page in texts for text in re.findall(r"`settings=(\{.*?\})`", page)]
    assert len(found) > 5
    for text in found:
        assert any(taken(preset, eval(text)) for preset in PRESETS), text


def test_blocks_are_found(tmp_path, monkeypatch):
    """Commands over several lines, prompts, comments; the mark above a block."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```bash\n$ filterscope show a b   # why\nfilterscope show \\\n  a c\nls\n```\n\n"
        "<!-- not run: needs a GPU -->\n```python\n# B\n1 / 0\n```\n\n## C\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(snippets, "HOME", tmp_path)
    first, second = snippets.blocks(page)
    assert first.commands == ["filterscope show a b", "filterscope show a c"]
    assert (second.reason, second.theirs, second.commands) == ("needs a GPU", False, [])
    assert snippets.headings(page) == [1, 2]
