"""Every built page, opened from disk in a browser that reaches no other host."""

from __future__ import annotations

from pathlib import Path

import browser
import build
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

SHOTS = build.ROOT / "_build" / "screenshots"
OTHERS = ["search", "genindex"]  # Sphinx writes these beside the pages of _toc.yml
PAGES = [*build.toc_files(), *OTHERS]
LEAST_CONTRAST = 4.5  # WCAG 2.1, level AA, for text of ordinary size


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PAGES],
)
def page(request: pytest.FixtureRequest, driver: browser.Driver, site: Path) -> browser.Driver:
    """The browser, showing one page."""
    path = site / f"{request.param}.html"
    assert path.exists()
    browser.open_page(driver, path)
    return driver


def name(request: pytest.FixtureRequest) -> str:
    """Return the page's name without folders."""
    return Path(request.node.callspec.params["page"]).name


def test_the_build_is_strict_and_complete(site: Path) -> None:
    """The pages are built without a warning, all of them; this one needs no browser."""
    missing = [name for name in ("index", *PAGES) if not (site / f"{name}.html").exists()]
    assert missing == []


def test_asks_nobody_and_reports_nothing(page: browser.Driver) -> None:
    """No request to another host, no severe line in the console. First: it reads the logs."""
    assert browser.foreign_requests(page) == []
    assert browser.console_errors(page) == []


def test_formulas_are_typeset(page: browser.Driver) -> None:
    """Each formula is drawn, with its fonts; no TeX is left in the text."""
    assert page.execute_script("return book.badMath()") == []
    assert page.execute_script("return book.mathFontsMissing()") == []


def test_images_say_what_they_show(page: browser.Driver) -> None:
    """Each image has an alternative text and is there."""
    assert page.execute_script("return book.imagesWithoutAlt()") == []
    assert page.execute_script("return book.imagesBroken()") == []


def test_links_within_the_page_lead_somewhere(page: browser.Driver) -> None:
    """No link to an anchor that does not exist."""
    assert page.execute_script("return book.deadLinks()") == []


def test_each_widget_is_drawn_once(page: browser.Driver) -> None:
    """One drawing for each widget: twice means that its script was loaded twice."""
    drawn = page.execute_script("return book.drawn()")
    assert drawn == [[1]] * len(drawn)


def step(control: WebElement) -> str:
    """Return the key that moves a slider from where it stands: right, or left at its end."""
    at, end = control.get_attribute("aria-valuenow"), control.get_attribute("aria-valuemax")
    return Keys.ARROW_LEFT if at == end else Keys.ARROW_RIGHT


def test_each_control_moves_its_frames(page: browser.Driver) -> None:
    """A slider (by keyboard) or dropdown changes what the reader sees, without a kernel."""
    assert page.execute_script("return book.unnamedControls()") == []
    for control in page.execute_script("return book.controls()"):
        before = page.execute_script("return book.frame(arguments[0])", control)
        if control.tag_name == "select":
            select = Select(control)
            chosen = select.options.index(select.first_selected_option)
            select.select_by_index((chosen + 1) % len(select.options))
        else:
            control.send_keys(step(control))
        after = page.execute_script("return book.frame(arguments[0])", control)
        assert before, "a widget without frames"
        assert after != before, "the control moves nothing"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_legible(page: browser.Driver, theme: str, request: pytest.FixtureRequest) -> None:
    """Contrast of all text in the article; a screenshot of each page in both modes is kept."""
    page.execute_script("book.theme(arguments[0])", theme)
    browser.screenshot(page, SHOTS / f"{name(request)}-{theme}.png")
    faint = page.execute_script("return book.faintText(arguments[0])", LEAST_CONTRAST)
    assert faint == []


def test_the_door_opens(driver: browser.Driver, site: Path) -> None:
    """``index.html`` leads to the first page, also from disk."""
    browser.open_page(driver, site / "index.html")
    assert driver.current_url == (site / f"{build.toc_files()[0]}.html").as_uri()


SHOWN = (
    "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).length"
)
STYLE = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"


def test_a_chapter_on_paper(driver: browser.Driver, site: Path) -> None:
    """Printed: no furniture, no hidden code or solution, figures whole, light whatever the mode."""
    browser.open_page(driver, site / "book/10_iif.html")
    furniture = ".bd-sidebar-primary, .bd-header-article, .prev-next-area, .headerlink, .copybtn"
    folded = "div.cell.tag_solution, div.cell details.hide > summary"
    assert driver.execute_script(SHOWN, folded) > 5 and driver.execute_script(SHOWN, furniture) > 5
    driver.execute_script("book.theme('dark')")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    try:
        assert driver.execute_script(SHOWN, furniture) == 0
        assert driver.execute_script(SHOWN, folded) == 0
        assert driver.execute_script(SHOWN, ".bd-article figure") >= 8
        assert driver.execute_script(STYLE, "figure", "breakInside") == "avoid"
        assert driver.execute_script(STYLE, ".bd-article pre", "whiteSpace") == "pre-wrap"
        assert driver.execute_script("return document.documentElement.dataset.theme") == "light"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        driver.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert driver.execute_script("return document.documentElement.dataset.theme") == "dark"


def test_a_quiz_answers_by_keyboard(driver: browser.Driver, site: Path) -> None:
    """A choice is reached with Tab, opened with Enter, and then says why."""
    browser.open_page(driver, site / "book/quiz_1.html")
    reason = driver.find_element("css selector", ".bd-article details p")
    assert not reason.is_displayed()
    choice = driver.find_element("css selector", ".bd-article details summary")
    assert choice.get_attribute("tabIndex") == "0"
    choice.send_keys(Keys.ENTER)
    assert reason.is_displayed() and reason.text.startswith(("No.", "Right."))
