"""The report in a real browser: no errors, no requests, and a table that sorts and filters.

Screenshots are kept where TFSGD_SCREENSHOTS says, or else in pytest's temporary folder.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, write_sweep
from tests.test_report import TINY, with_troubles
from tfsgd.reporting.page.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver"
)

WIDE, PHONE = (1280, 900), (390, 844)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sweep(
        tmp_path_factory.mktemp("logs") / "sweep", experiment(**TINY | {"seeds": [0, 1, 2]}), with_troubles
    )
    return write_report([folder])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(30)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("TFSGD_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def show(browser: Any, page: Path, size: tuple[int, int], scheme: str, unfolded: bool = True) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    if unfolded:
        browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")


def column(browser: Any, heading: str) -> list[str]:
    """The texts of a column of the trials, top to bottom, of the rows that are shown."""
    found: list[str] = browser.execute_script(
        "const name = arguments[0];"
        "const index = [...document.querySelectorAll('#table th')].findIndex(h => h.textContent === name);"
        "return [...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[index].textContent);",
        heading,
    )
    return found


def click(browser: Any, heading: str) -> None:
    browser.find_element("xpath", f"//*[@id='table']//button[text()='{heading}']").click()


@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_errors_or_requests_and_fits(
    browser: Any, report_page: Path, screenshots: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    show(browser, report_page, size, scheme)
    assert browser.title.startswith("SGD settings and robustness")
    assert browser.get_log("browser") == []
    requests = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "requestWillBeSent" in entry["message"]
    ]
    outside = [message for message in requests if '"url":"http' in message or '"url":"ws' in message]
    assert requests
    assert outside == []
    wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, "the page is wider than the window"
    for i, place in enumerate(("#study-1", "#study-1-claims", "#figure-regimes-fgsm", "#trials")):
        browser.execute_script("document.querySelector(arguments[0]).scrollIntoView()", place)
        browser.save_screenshot(str(screenshots / f"{'phone' if size == PHONE else 'wide'}-{scheme}-{i}.png"))


def test_panels_stack_on_a_phone_and_nothing_is_cut_off(browser: Any, report_page: Path) -> None:
    def boxes(selector: str) -> list[dict[str, float]]:
        found: list[dict[str, float]] = browser.execute_script(
            "return [...document.querySelector('#figure-regimes-fgsm').querySelectorAll(arguments[0])]"
            ".map(e => e.getBoundingClientRect()).map(r => ({left: r.left, right: r.right, top: r.top,"
            " bottom: r.bottom, height: r.height}))",
            selector,
        )
        return found

    show(browser, report_page, WIDE, "light")
    assert boxes(".whole")[0]["height"] > 200
    assert all(box["height"] == 0 for box in boxes(".parts svg"))
    show(browser, report_page, PHONE, "light")
    assert boxes(".whole")[0]["height"] <= 1
    first, second, *_, last = boxes(".parts svg")
    assert second["top"] >= first["bottom"]
    assert min(first["height"], second["height"]) > 150
    assert last["height"] < 40  # an item of the key is as high as its text
    assert all(0 <= box["left"] < box["right"] <= PHONE[0] for box in boxes(".parts svg"))


def test_figures_follow_dark_mode(browser: Any, report_page: Path) -> None:
    def colours() -> list[str]:
        found: list[str] = browser.execute_script(
            "const svg = document.querySelector('figure svg');"
            "return [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(svg.querySelector('path')).fill, getComputedStyle(svg.querySelector('text')).fill]"
        )
        return found

    show(browser, report_page, WIDE, "light")
    light = colours()
    show(browser, report_page, WIDE, "dark")
    dark = colours()
    assert light[0] == light[1] == "rgb(255, 255, 255)"
    assert dark[0] == dark[1] != light[0]
    assert light[2] != dark[2]


def test_the_table_sorts_by_number_and_keeps_missing_values_last(browser: Any, report_page: Path) -> None:
    show(browser, report_page, WIDE, "light")
    click(browser, "batch size")
    sizes = [int(text) for text in column(browser, "batch size")]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3
    for descending in (False, True):
        click(browser, "test")
        texts = column(browser, "test")
        known = [float(text) for text in texts if text != "none"]
        assert known == sorted(known, reverse=descending)
        assert texts[len(known) :] == ["none"] * 3
    assert browser.find_element("xpath", "//*[@id='table']//th[@aria-sort='descending']").text.startswith(
        "test"
    )


def test_the_table_filters_by_every_word(browser: Any, report_page: Path) -> None:
    show(browser, report_page, WIDE, "light")
    everything = len(column(browser, "trial"))
    field = browser.find_element("id", "filter")
    field.send_keys("LR/BS diverged")
    assert set(column(browser, "status")) == {"diverged"}
    assert browser.find_element("id", "count").text == f"3 of {everything} trials"
    field.clear()
    field.send_keys("no such trial")
    assert column(browser, "trial") == []
    field.send_keys("\b" * 20)
    assert len(column(browser, "trial")) == everything


def test_points_show_their_values_and_trials_lead_to_their_folders(browser: Any, report_page: Path) -> None:
    show(browser, report_page, WIDE, "light")
    titles = browser.execute_script(
        "return [...document.querySelectorAll('use.point title')].map(t => t.textContent)"
    )
    assert any("natural accuracy" in title and "seed 0" in title for title in titles)
    link = browser.find_element("css selector", "#table tbody a").get_attribute("href")
    assert Path(link.removeprefix("file://")).is_dir()
