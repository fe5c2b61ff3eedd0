"""The report as a person opens it: from a file, in a real browser, on a phone and on a wide screen, day and night."""

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from browser import browser as browser
from browser import quiet_page
from fake_study import FakeStudy
from playwright.sync_api import Browser, Page, expect

SCREENS = {"phone": {"width": 360, "height": 740}, "wide": {"width": 1600, "height": 900}}
COLOURS = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const [red, green, blue, alpha = 1] = channels(getComputedStyle(element).backgroundColor);
      if (alpha > 0) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const shown = (element) => element.checkVisibility() && [...element.childNodes].some(
    (node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  return [...document.querySelectorAll("body *:not(script, style)")].filter(shown).map((element) => {
    const style = getComputedStyle(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    return [element.textContent.trim().slice(0, 40), channels(colour).slice(0, 3), behind(element)];
  });
}
"""


@pytest.fixture(scope="module", params=["index.html", "demo/index.html"])
def address(request: pytest.FixtureRequest, reported: FakeStudy) -> str:
    return (reported.report.parent / request.param).as_uri()


@pytest.fixture(params=SCREENS)
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    with quiet_page(browser, viewport=SCREENS[request.param]) as page:
        page.goto(address)
        yield page


def luminance(colour: list[float]) -> float:
    """WCAG 2.2, relative luminance of sRGB in 0..255."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour: list[float], background: list[float]) -> float:
    lighter, darker = sorted((luminance(colour), luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_it_fits_the_screen_and_all_pictures_load(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert page.evaluate("document.images.length") == 3 * 11
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


def test_every_link_leads_to_its_section(page: Page) -> None:
    links = page.get_by_role("navigation").get_by_role("link")
    assert links.all_inner_texts() == ["Verdicts", "Listen", "Figures", "Tables", "Rebuild it"]
    for link in page.locator("a[href^='#']").all():
        assert page.locator(link.get_attribute("href") or "").count() == 1


def test_it_plays_from_where_it_lies(page: Page) -> None:
    button = page.locator(".excerpt button.play").first
    button.click()
    page.wait_for_function("listening.players[0].state().playing && listening.players[0].state().position_s > 0.1")
    page.get_by_role("radio", name=re.compile("^train_full,")).first.check()
    assert page.evaluate("listening.players[0].state().selected") == "train_full"
    button.click()
    assert not page.evaluate("listening.players[0].state().playing")


def test_every_control_has_a_name_of_its_own(page: Page) -> None:
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    focusable = [node for node in tree if has(node, "focusable") and node["role"]["value"] != "RootWebArea"]
    names = [(node["role"]["value"], node.get("name", {}).get("value", "").strip()) for node in focusable]
    assert {"button", "slider", "checkbox", "radio", "link"} <= {role for role, _ in names}
    unnamed = [role for role, name in names if not name and role != "generic"]
    assert unnamed == []
    controls = [entry for entry in names if entry[0] in {"button", "slider", "checkbox", "radio"}]
    assert len(set(controls)) == len(controls) == 3 * (1 + 1 + 2 + 11)


def has(node: dict[str, Any], name: str) -> bool:
    return any(entry["name"] == name and entry["value"]["value"] for entry in node.get("properties", []))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_day_and_night(browser: Browser, reported: FakeStudy, scheme: Any) -> None:
    with quiet_page(browser, color_scheme=scheme) as page:
        page.goto((reported.report / "index.html").as_uri())
        texts = page.evaluate(COLOURS)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number)")
    assert (luminance(paper) > 0.5) == (scheme == "light")
    assert len(texts) > 500
    pale = [(text, contrast(colour, background)) for text, colour, background in texts]
    assert [entry for entry in pale if entry[1] < 4.5] == []


def test_the_page_shows_the_numbers_of_the_tables(page: Page, reported: FakeStudy) -> None:
    for path in sorted((reported.report / "tables").glob("*.csv")):
        rows = page.locator(f"#{path.stem} tbody tr")
        table = pd.read_csv(path)
        expect(rows).to_have_count(len(table))
        shown = (path.with_suffix(".md").read_text().split("\n| ")[-1]).split("|")
        cells = rows.last.locator("th, td").all_inner_texts()
        assert cells == [cell.strip() for cell in shown[: len(cells)]]


def test_verdicts_and_parameters_are_there(page: Page, reported: FakeStudy) -> None:
    sentences = re.findall("^- (.+)$", (reported.report / "verdicts.md").read_text(), re.MULTILINE)
    assert page.locator(".verdicts li").all_inner_texts() == sentences
    page.get_by_text("All parameters").click()
    parameters = page.locator("details pre")
    expect(parameters).to_contain_text("speech_remix_prob: [0, 0.1, 0.2, 0.3, 0.5, 1]")
    expect(page.locator("pre.command")).to_contain_text("git checkout 0123abc")
    expect(page.get_by_role("contentinfo")).to_contain_text("0123abc")
