"""The page in a real browser, at three widths."""

import pytest

from advbench.api.stored import pairs
from advbench.reports.html.report import of_found
from advbench.reports.sources import Sources

from . import browser

pytestmark = pytest.mark.integration(needs="chromium")

SORTED = "[...document.querySelectorAll('#summary tbody tr')].map(row => row.cells[{}].textContent.split('\\n')[0])"
SHOWN = "[...document.querySelectorAll('#summary tbody tr')].filter(row => row.offsetParent !== null).length"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    opened = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(stored, tmp_path):
    names = ("rather-long-model-name-" * 4, "b", "c")
    runs = [stored(n[:1] + str(k), name=n, robust=k, eps=f"0.{k}") for n, k in zip(names, (9, 60, 80), strict=True)]
    path = tmp_path / "page.html"
    path.write_text(of_found(Sources(tuple(runs)), pairs), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1024, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_asks_for_nothing_and_complains_of_nothing(opened, page, width, scheme):
    opened.open(page, width, scheme=scheme)
    assert opened.run("document.documentElement.scrollWidth") <= width
    assert opened.requests() == [page.as_uri()]
    assert opened.complaints() == []
    background = opened.run("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (min(levels) > 200) == (scheme == "light")


def test_a_click_sorts_by_number_and_another_turns_it_around(opened, page):
    opened.open(page, 1024)
    column = opened.run(
        "[...document.querySelectorAll('#summary thead th')].findIndex(cell => /robust acc/.test(cell.textContent))"
    )
    click = f"document.querySelectorAll('#summary thead th')[{column}].querySelector('button').click()"
    opened.run(click)
    assert opened.run(SORTED.format(column)) == ["9.0%", "60.0%", "80.0%"]
    opened.run(click)
    assert opened.run(SORTED.format(column)) == ["80.0%", "60.0%", "9.0%"]
    state = f"document.querySelectorAll('#summary thead th')[{column}].getAttribute('aria-sort')"
    assert opened.run(state) == "descending"


def test_typing_filters_rows_and_says_how_many(opened, page):
    opened.open(page, 1024)
    opened.run("box = document.querySelector('#summary input'); box.value = 'RATHER 0.9'")
    opened.run("box.dispatchEvent(new Event('input'))")
    assert opened.run(SHOWN) == 1
    assert opened.run("document.querySelector('#summary output').textContent") == "1 of 3 rows"
    opened.run("box.value = ''; box.dispatchEvent(new Event('input'))")
    assert opened.run(SHOWN) == 3


def test_injected_scripts_are_refused(opened, page):
    hostile = page.with_name("hostile.html")
    hostile.write_text(page.read_text().replace("</main>", "<script>window.taken = 1</script></main>"))
    opened.open(hostile, 1024)
    assert opened.run("window.taken === undefined")
    assert opened.complaints()  # the policy says that it refused


def test_on_paper_it_is_dark_on_white_and_nothing_is_cut(opened, page):
    opened.open(page, 790, scheme="dark", media="print")
    assert opened.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.offsetParent && e.scrollWidth > 790).length"
    assert opened.run(wide) == 0
