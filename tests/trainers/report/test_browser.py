"""The page in a real headless Chromium: filters, columns, search; no errors, no requests."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainers.report.build import write_report

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
DRIVER = shutil.which("chromedriver") or ""
NUM_ROWS, NUM_WRONG, NUM_WRONG_AT_20, NUM_CHANGED = 40, 3, 17, 26
NUM_WRONG_AT_BASE, NUM_INVALID_AT_BASE = 26, 12
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium and chromedriver on PATH: apt-get install chromium chromium-driver",
)


def start(*, javascript: bool = True) -> Chrome:
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not javascript:
        setting = "profile.managed_default_content_settings.javascript"
        options.add_experimental_option("prefs", {setting: 2})
    return Chrome(options=options, service=Service(DRIVER))


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Chrome, make_run: Callable[..., Path]) -> Chrome:
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(write_report(make_run(num_rows=NUM_ROWS)).as_uri())
    return browser


def visible_rows(driver: Chrome) -> int:
    rows = driver.find_elements(By.CSS_SELECTOR, "table.replies tbody tr")
    return sum(row.is_displayed() for row in rows)


def press(driver: Chrome, name: str) -> str:
    button = driver.find_element(By.CSS_SELECTOR, f"[data-filter={name}]")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    return str(button.text)


def test_filters_show_the_rows_they_count(page: Chrome) -> None:
    assert visible_rows(page) == NUM_ROWS
    assert press(page, "wrong") == f"wrong {NUM_WRONG}"
    assert visible_rows(page) == NUM_WRONG
    assert press(page, "changed") == f"changed {NUM_CHANGED}"
    assert visible_rows(page) == NUM_CHANGED
    page.find_element(By.CSS_SELECTOR, "#at option[value='1']").click()
    assert press(page, "wrong") == f"wrong {NUM_WRONG_AT_20}"
    assert visible_rows(page) == NUM_WRONG_AT_20
    assert press(page, "all") == f"all {NUM_ROWS}"
    page.find_element(By.ID, "query").send_keys("qué rutas de garaj")
    assert visible_rows(page) == sum(i % 6 == 3 for i in range(NUM_ROWS))
    page.find_element(By.ID, "query").send_keys(" nowhere")
    assert visible_rows(page) == 0
    assert page.find_element(By.ID, "empty").is_displayed()


def test_rows_are_found_by_what_is_wrong_with_the_reply(page: Chrome) -> None:
    page.find_element(By.CSS_SELECTOR, "#at option[value='0']").click()
    options = page.find_elements(By.CSS_SELECTOR, "#why option")
    assert [option.text for option in options] == [
        "any",
        f"other rows than the reference ({NUM_WRONG_AT_BASE - NUM_INVALID_AT_BASE})",
        f"not valid SQL ({NUM_INVALID_AT_BASE})",
    ]
    options[2].click()
    assert visible_rows(page) == NUM_INVALID_AT_BASE
    assert press(page, "wrong") == f"wrong {NUM_INVALID_AT_BASE}"
    page.find_element(By.CSS_SELECTOR, "#at option[value='5']").click()
    assert page.find_element(By.ID, "why").get_attribute("value") == "", "no such reason there"
    assert visible_rows(page) == NUM_WRONG


def test_search_reads_visible_columns_only(page: Chrome) -> None:
    page.find_element(By.ID, "query").send_keys("FROM especies")
    assert 0 < visible_rows(page) < NUM_WRONG_AT_BASE
    page.find_element(By.CSS_SELECTOR, "[data-column='0']").click()
    assert visible_rows(page) == 0


def test_columns_by_checkbox_and_repeated_replies_filled_in(page: Chrome) -> None:
    heads = page.find_elements(By.CSS_SELECTOR, "table.replies thead th")
    shown = [head.text for head in heads if head.is_displayed()]
    assert shown == ["inputs", "target", "untuned base", "step 100 ★ chosen"]
    page.find_element(By.CSS_SELECTOR, "[data-column='2']").click()
    shown = [head.text for head in heads if head.is_displayed()]
    assert shown == ["inputs", "target", "untuned base", "step 40", "step 100 ★ chosen"]
    replies = page.execute_script(
        "return [...document.querySelectorAll('td[data-k] .r')].map(reply => reply.textContent)"
    )
    assert len(replies) == NUM_ROWS * 7
    assert all(replies)


def test_no_errors_and_no_requests(page: Chrome) -> None:
    press(page, "wrong")
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in sent if not url.startswith("data:")} == {page.current_url}
    assert not [e for e in events if e["method"] == "Network.loadingFailed"]


def test_the_page_fits_a_phone(page: Chrome) -> None:
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    root = "document.documentElement"
    wide, room = page.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert 380 <= wide == room <= 400


def test_without_javascript_every_row_and_column_is_there(make_run: Callable[..., Path]) -> None:
    path = write_report(make_run(num_rows=NUM_ROWS))
    driver = start(javascript=False)
    driver.get(path.as_uri())
    rows = visible_rows(driver)
    heads = driver.find_elements(By.CSS_SELECTOR, "table.replies thead th")
    shown = [head.is_displayed() for head in heads]
    controls = driver.find_element(By.ID, "controls").is_displayed()
    driver.quit()
    assert (rows, shown, controls) == (NUM_ROWS, [True] * 9, False)
