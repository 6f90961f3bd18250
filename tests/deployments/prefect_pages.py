"""Prefect's pages in a real browser, as a person goes through them: by links, labels and buttons."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

# Where a picture of each step goes that has a name; nowhere, where it is not set.
PICTURES = "NIGHTSHIFT_SCREENSHOTS"
CHROMIUM = shutil.which("chromium")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
# A busy machine draws the long form in half a minute.
_PATIENCE_MS = 180_000
# A whole retraining, beside other work.
_RUN_MS = 600_000
_TRIES = 5
# Nothing tells when a graph is drawn.
_DRAWN_MS = 5_000


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of Debian's chromium, which waits long for what it is asked for."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        # headless is one of the flags: playwright's own switch would look for a browser of its own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=False, args=[*_FLAGS])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(_PATIENCE_MS)
            yield page
        finally:
            browser.close()


def picture(page: Page, name: str) -> None:
    """Keep what the page shows as `name`.png, where pictures are asked for."""
    folder = os.environ.get(PICTURES)
    if folder:
        page.wait_for_timeout(_DRAWN_MS)
        page.screenshot(path=Path(folder) / f"{name}.png")


class Form:
    """The form of a custom run of a deployment."""

    def __init__(self, page: Page, address: str, deployment: str) -> None:
        self._page = page
        page.goto(address)
        page.get_by_role("link", name="Deployments").click()
        page.get_by_role("link", name=deployment, exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Custom run").click()

    def field(self, label: str) -> Locator:
        """An input by its label."""
        return self._page.get_by_label(re.compile(rf"^{label}( \(Optional\))?$"))

    def fill(self, values: Mapping[str, object]) -> None:
        """Numbers and texts by label."""
        for label, value in values.items():
            self.field(label).fill(str(value))

    def read_json_lines(self, path: Path, *, columns: str) -> None:
        """Choose files of one's own as the corpus; `columns` as JSON."""
        page = self._page
        page.get_by_role("tab", name="Local files").click()
        panel = page.get_by_role("tabpanel", name="Local files")
        panel.get_by_role("button", name="Select Format").click()
        page.get_by_role("option", name="jsonl").click()
        paths = panel.get_by_text("Paths", exact=True)
        paths.locator("xpath=following::button[normalize-space()='Add item'][1]").click()
        paths.locator("xpath=following::textarea[1]").fill(str(path))
        panel.get_by_text("Columns (Optional)").locator("xpath=following::*[@role='textbox'][1]").click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(columns)

    def start(self) -> str:
        """Ask for the run, and go to its page by the deployment's list of runs; returns its id."""
        for _ in range(_TRIES):
            # The message that offers "View run" is gone after four seconds, which a busy browser can miss.
            with self._page.expect_response(re.compile("/create_flow_run$")) as created:
                self._page.get_by_role("button", name="Submit").click()
            response = created.value
            if response.status != HTTPStatus.SERVICE_UNAVAILABLE:
                break  # else the server's database was locked: Prefect's own clients ask again, and so does a person
        assert response.ok, response.text()
        run = response.json()
        self._page.get_by_role("main").get_by_role("link", name=run["name"], exact=True).first.click()
        self._page.wait_for_url(f"**/flow-run/{run['id']}*")
        return str(run["id"])


def wait_for_state(page: Page, state: str) -> None:
    """Watch the page of a run until it shows the state."""
    expect(page.get_by_role("main").get_by_text(state, exact=True).first).to_be_visible(timeout=_RUN_MS)


def open_artifact(page: Page, key: str) -> None:
    """From the page of a run to one of its artifacts."""
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("tabpanel", name="Artifacts").get_by_role("link", name=key).click()
    page.get_by_role("main").get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()


def cancel(page: Page) -> None:
    """Cancel the run whose page this is."""
    page.get_by_role("main").get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Cancel").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel Flow Run").click()
