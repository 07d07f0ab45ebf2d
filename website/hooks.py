"""What mkdocs asks while it builds: pages that are made, notebooks as pages, links out of the documentation."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from website import HOME, notebooks, pages

SOURCE = "https://github.com/filterscope/filterscope/blob/main/"
GENERATED = {
    "PYTHON": pages.reference_pages,
    "COMMANDS": pages.command_pages,
}  # by their mark in mkdocs.yml's nav


def on_config(config: Any) -> Any:
    """The pages that are made stand in the menu where mkdocs.yml has their mark."""
    config.nav = _with_pages(config.nav)
    return config


def _with_pages(items: Any) -> Any:
    if isinstance(items, dict):
        return {title: _with_pages(inner) for title, inner in items.items()}
    if not isinstance(items, list):
        return items
    found: list[Any] = []
    for item in items:
        if isinstance(item, str) and item in GENERATED:
            found += [{title: path} for path, title, _ in GENERATED[item]()]
        else:
            found.append(_with_pages(item))
    return found


def on_files(files: Any, config: Any) -> Any:
    """The pages that are made, and each notebook as a page beside its file."""
    from mkdocs.structure.files import File

    made = {path: text for all_of in GENERATED.values() for path, _, text in all_of()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    found = {
        file: notebooks.Notebook.read(Path(file.abs_src_path))
        for file in files
        if file.src_uri.endswith(".ipynb")
    }
    if os.environ.get(notebooks.EXECUTE, "1") != "0":
        notebooks.run_all(found.values())
    for file, notebook in found.items():
        page = PurePosixPath(file.src_uri).with_suffix("")
        text, pictures = notebooks.to_markdown(notebook, page.name)
        files.append(File.generated(config, f"{page}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, str(page.parent / name), content=data))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository that are no pages lead to where the repository is shown."""
    folder = PurePosixPath("docs") / PurePosixPath(page.file.src_uri).parent

    def led(match: re.Match[str]) -> str:
        path = os.path.normpath(folder / match[1])
        outside = not path.startswith("docs/") and (HOME / path).exists()
        return f"]({SOURCE}{path}{match[2]})" if outside else match[0]

    return re.sub(r"\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)", lambda match: led(match), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """The search index as a script too, which the theme asks for where the pages are opened from a folder."""
    index = Path(config.site_dir) / "search" / "search_index.json"
    if index.is_file():
        text = index.read_text(encoding="utf-8")
        index.with_suffix(".js").write_text(f"var __index = {text}", encoding="utf-8")
