"""The published site as its readers get it: built from what is committed, opened in Chromium from files, no network.

Every page is opened once and what is seen there kept; each test then asks one thing of all pages.
"""

import gzip
import os
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from kd_lib.book import build

PROJECT = Path(__file__).resolve().parents[2]
STUDY = {path.stem for path in (PROJECT / "notebooks").glob("*.py")}
FIRST_PAGE, ANY_PAGE = 300e3, 3e6  # bytes of transfer
MAKE_SITE = 120  # seconds of one core
WIDTHS = (390, 1280)  # of a phone, of a laptop
LEGIBLE = 0.75  # of the size of letters that charts are made with, 10 pixels
SERIOUS = {"serious", "critical"}

# Charts are drawn once they are seen: go through the page, wait for each.
SEE_ALL = """async () => {
  for (const chart of document.querySelectorAll('.chart')) {
    chart.scrollIntoView();
    for (let i = 0; i < 600 && !chart.classList.contains('awake'); i++) await new Promise(r => setTimeout(r, 50));
  }
  scrollTo(0, 0);
}"""
COUNT_MARKS = """() => Array.from(document.querySelectorAll('.chart'), chart => ['.picture', '.live'].map(part =>
  chart.querySelectorAll(`${part} [class*="role-mark"] :is(path, line, rect, text):not(.background)`).length))"""
# Titles of axes that run into one another, as where a panel is lower than its title is long.
CROWDED = """() => Array.from(document.querySelectorAll('.chart .live')).flatMap(chart => {
  const titles = Array.from(chart.querySelectorAll('[class*="role-axis-title"] text'));
  return titles.filter((title, i) => titles.slice(0, i).some(other => {
    const [a, b] = [title, other].map(e => e.getBoundingClientRect());
    return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  })).map(title => title.textContent);
})"""
# By how much charts are drawn smaller than they are made.
SCALES = """() => Array.from(document.querySelectorAll('.chart .live svg'),
  chart => chart.getBoundingClientRect().width / chart.viewBox.baseVal.width)"""
TOO_WIDE = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""
# What can be reached with a pointer, and is seen.
REACHABLE = """() => Array.from(document.querySelectorAll('a[href], button, input, select, textarea, summary'))
  .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !e.disabled && e.tabIndex >= 0
    && e.getBoundingClientRect().width > 0)
  .map((e, i) => (e.dataset.reach = i, i))"""
IN_FOCUS = "() => document.activeElement?.dataset.reach ?? null"
# Axe would fetch style sheets again, which browsers refuse from files.
AXE = {"resultTypes": ["violations"], "preload": False}
RULES = {"light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "dark": ["color-contrast"]}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What `make site` builds."""
    output, start = tmp_path_factory.mktemp("site") / "html", os.times()
    build.publish(output)
    spent = [after - before for before, after in zip(start[:4], os.times()[:4], strict=True)]
    assert sum(spent) < MAKE_SITE
    return output


@pytest.fixture(scope="module")
def pages(site):
    """Paths of the pages that people read, from the site's folder."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return [name for name in found if not name.startswith("_static") and name != "index.html"]


def open_page(context, address, seen):
    """Open a page without a network; note what it loads, and what goes wrong."""
    page = context.new_page()
    page.on("request", lambda request: seen["loads"].append(request.url))
    page.on("requestfailed", lambda request: seen["faults"].append(f"{request.url}: {request.failure}"))
    page.on("console", lambda message: message.type == "error" and seen["faults"].append(message.text))
    page.on("pageerror", lambda error: seen["faults"].append(str(error)))
    page.goto(address)
    return page


@pytest.fixture(scope="module")
def visits(site, pages, browser):
    """What is seen on each page."""
    from axe_playwright_python.sync_playwright import Axe

    axe, visits = Axe(), {}
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light", offline=True)
    for name in pages:
        seen = visits[name] = {"loads": [], "faults": [], "wide": {}, "scales": {}, "axe": []}
        page = open_page(context, (site / name).as_uri(), seen)
        page.evaluate(SEE_ALL)
        seen["marks"] = page.evaluate(COUNT_MARKS)
        seen["crowded"] = page.evaluate(CROWDED)
        page.add_style_tag(content="*, ::before, ::after { transition: none !important; }")  # colours change gradually
        for scheme, rules in RULES.items():
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(50)
            found = axe.run(page, options=AXE | {"runOnly": rules}).response["violations"]
            seen["axe"] += [
                f"{scheme}: {fault['id']}: {fault['nodes'][0]['html'][:200]}"
                for fault in found
                if fault["impact"] in SERIOUS
            ]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            seen["wide"][width], seen["scales"][width] = page.evaluate(TOO_WIDE), page.evaluate(SCALES)
        page.emulate_media(media="print", color_scheme="light")
        page.set_viewport_size({"width": 720, "height": 1000})
        seen["wide"]["print"] = page.evaluate(TOO_WIDE)
        page.close()
    return visits


def test_every_notebook_and_prose_page_is_there(pages):
    kept = {path.stem for path in build.published()[0].glob("*.ipynb")}
    assert STUDY - {"inheritance"} <= kept <= STUDY  # of photographs, in which nobody can plant a feature
    assert {f"notebooks/{name}.html" for name in kept} == {name for name in pages if name.startswith("notebooks/")}
    assert {"book/introduction.html", "book/scorecard.html", "book/reference.html", "search.html"} <= set(pages)


def test_pages_open_without_an_error_or_a_failed_request(visits):
    assert not {name: seen["faults"] for name, seen in visits.items() if seen["faults"]}


def test_nothing_comes_from_elsewhere(visits):
    elsewhere = {
        url for seen in visits.values() for url in seen["loads"] if urlsplit(url).scheme not in ("file", "data")
    }
    assert not elsewhere


def test_every_chart_has_marks_as_a_picture_and_drawn_anew(visits):
    charts = {name: seen["marks"] for name, seen in visits.items() if seen["marks"]}
    assert {f"notebooks/{name}.html" for name in ("train_models", "rq1", "rq2", "rq3")} <= set(charts)
    assert not [name for name, marks in charts.items() if not all(picture and live for picture, live in marks)]


def test_titles_of_axes_keep_apart(visits):
    assert not {name: seen["crowded"] for name, seen in visits.items() if seen["crowded"]}


def test_words_in_charts_are_large_enough_to_be_read(visits):
    scales = {name: [scale for of in seen["scales"].values() for scale in of] for name, seen in visits.items()}
    assert any(scales.values())
    assert not {name: min(of) for name, of in scales.items() if of and min(of) < LEGIBLE}


def test_every_table_has_a_number(site, pages):
    for name in pages:
        shown = (site / name).read_text(encoding="utf-8")
        own = re.findall(r'(?s)<table class="table".*?</table>', shown)
        assert all('<span class="caption-number">Table ' in table for table in own), name
        if Path(name).stem in STUDY:
            tables = re.findall(r'(?s)<figure class="[^"]*numbered-table.*?</figure>', shown)
            assert sum(table.count('class="dataframe') for table in tables) == shown.count('class="dataframe'), name
            numbered = r'(?s)caption-number">Table \d+\.\d+.*</figcaption>.*<table'
            assert all(re.search(numbered, table) for table in tables), name


def test_no_page_is_wider_than_its_window(visits):
    assert not {name: seen["wide"] for name, seen in visits.items() if max(seen["wide"].values()) > 0}


def test_axe_finds_no_serious_fault(visits):
    assert not {name: seen["axe"] for name, seen in visits.items() if seen["axe"]}


def test_pages_are_small(visits):
    def size(urls, transfer):
        contents = [Path(unquote(urlsplit(url).path)).read_bytes() for url in set(urls) if url.startswith("file:")]
        return sum(len(gzip.compress(content)) if transfer else len(content) for content in contents)

    assert size(visits["book/introduction.html"]["loads"], transfer=True) < FIRST_PAGE
    # Even as they lie on the disk.
    assert not {name: b for name, s in visits.items() if (b := size(s["loads"], transfer=False)) > ANY_PAGE}


def test_the_search_finds_a_term(site, browser):
    seen = {"loads": [], "faults": []}
    page = open_page(browser.new_context(offline=True), (site / "search.html").as_uri() + "?q=leave-one-out", seen)
    page.wait_for_selector("#search-results li a")
    assert "notebooks/rq3.html" in " ".join(a.get_attribute("href") for a in page.locator("#search-results li a").all())
    assert not seen["faults"]


@pytest.mark.parametrize("name", ["book/introduction.html", "notebooks/rq1.html", "search.html"])
def test_the_keyboard_reaches_everything(site, browser, name):
    page = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True).new_page()
    page.goto((site / name).as_uri())
    wanted = set(page.evaluate(REACHABLE))
    reached = set()
    for _ in range(3 * len(wanted) + 100):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(IN_FOCUS))
        if wanted <= {int(number) for number in reached if number}:
            break
    missed = wanted - {int(number) for number in reached if number}
    assert not [page.locator(f"[data-reach='{number}']").evaluate("e => e.outerHTML") for number in missed]


def test_charts_tell_their_numbers_and_follow_a_choice_on_the_whole_page(site, browser):
    page = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True).new_page()
    page.goto((site / "notebooks" / "rq1.html").as_uri())
    page.evaluate(SEE_ALL)
    charts = [c for c in page.locator(".chart").all() if c.locator("select").count() and "class" in c.inner_text()]
    assert len(charts) >= 2
    faded = 'e => e.querySelectorAll(\'.live [stroke-opacity="0.12"], .live [fill-opacity="0.12"]\').length'
    assert not any(chart.evaluate(faded) for chart in charts)
    lists = [c.locator("label", has_text=re.compile("^class")).locator("select") for c in charts]
    value = lists[0].locator("option").nth(1).inner_text()
    lists[0].select_option(value)
    page.wait_for_timeout(300)
    assert [chosen.input_value() for chosen in lists] == [value] * len(lists)
    assert all(chart.evaluate(faded) for chart in charts)
    lists[1].select_option("")
    page.wait_for_timeout(300)
    assert not any(chart.evaluate(faded) for chart in charts)
    charts[0].scroll_into_view_if_needed()
    charts[0].locator(".live [class*='mark-symbol role-mark'] path").first.hover(force=True)
    assert "epoch" in page.locator("#vg-tooltip-element").inner_text()


def test_without_scripts_and_on_paper_charts_are_pictures(site, browser):
    page = browser.new_context(offline=True, java_script_enabled=False).new_page()
    page.goto((site / "notebooks" / "rq1.html").as_uri())
    assert page.locator("div[role=img] svg").first.is_visible()
    page = browser.new_context(offline=True).new_page()
    page.goto((site / "notebooks" / "rq1.html").as_uri())
    page.evaluate(SEE_ALL)
    page.emulate_media(media="print")
    assert not [c for c in page.locator(".chart").all() if not c.locator(".picture").is_visible()]
    assert not [c for c in page.locator(".live, .choices").all() if c.is_visible()]


def test_links_lead_somewhere(site, pages):
    ids, lost = {}, []
    for path in site.rglob("*.html"):
        ids[path] = {
            unescape(name) for name in re.findall(r'\b(?:id|name)="([^"]*)"', path.read_text(encoding="utf-8"))
        }
    for name in pages:
        for href in map(unescape, re.findall(r'<a\b[^>]*\bhref="([^"]*)"', (site / name).read_text(encoding="utf-8"))):
            there = urlsplit(href)
            if there.scheme or there.netloc:
                continue
            target = (site / name).parent / unquote(there.path) if there.path else site / name
            target = target.resolve()
            fragment = unquote(there.fragment)
            if not target.is_file() or (fragment and target in ids and fragment not in ids[target]):
                lost.append(f"{name}: {href}")
    assert not lost


def test_links_to_elsewhere_are_well_formed(site, pages):
    forms = {"doi.org": r"/10\.\d{4,9}/\S+", "arxiv.org": r"/(?:abs|pdf)/(?:\d{4}\.\d{4,5}(?:v\d+)?|[a-z-]+/\d{7})"}
    wrong = set()
    for name in pages:
        for href in map(
            unescape, re.findall(r'<a\b[^>]*\bhref="(\w+:[^"]*)"', (site / name).read_text(encoding="utf-8"))
        ):
            there = urlsplit(href)
            if there.scheme == "mailto":
                continue
            if there.scheme != "https" or not re.fullmatch(forms.get(there.netloc, ".*"), there.path):
                wrong.add(href)
    assert not wrong


def test_the_reference_is_the_same_wherever_it_is_rendered(site, pages):
    texts = {name: (site / name).read_text(encoding="utf-8") for name in pages}
    for from_the_machine in (str(PROJECT), "&lt;function", " object at 0x", "Alias for field number"):
        assert not [name for name, text in texts.items() if from_the_machine in text]
