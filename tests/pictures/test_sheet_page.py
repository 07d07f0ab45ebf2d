"""pictures/page.py: a page of sheets."""

import re

from filterscope.pictures.page import Section, write_page


def test_the_page_shows_each_sheet_and_escapes_text(tmp_path):
    """One picture a section, found beside the page; text cannot become markup."""
    page = write_page(
        tmp_path / "index.html", "A <title>", [Section("One", "x < y", "a.png"), Section("Two", "", "b.png")]
    )
    text = page.read_text()
    assert re.findall(r'<img src="([^"]+)"', text) == ["a.png", "b.png"]
    assert "x &lt; y" in text
    assert "http" not in text  # nothing is fetched
