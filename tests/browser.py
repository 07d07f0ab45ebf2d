"""A headless Chromium, where there is one; in CI there must be one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NEEDED = "a browser test may not be skipped where CI=true"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator:
    """Chromium, or Chrome, driven by selenium; the test skips where neither is installed."""
    binary, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium and chromedriver here; on Debian: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={profile}", "--window-size=1280,900",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_page_load_timeout(30)
    yield browser
    browser.quit()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator:
    """In CI a browser test that is skipped, whatever for, is one that failed."""
    report = yield
    in_ci = os.environ.get("CI", "").lower() in ("true", "1")
    if in_ci and report.skipped and "chromium" in getattr(item, "fixturenames", ()):
        *_, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"{NEEDED}: {reason}"
    return report
