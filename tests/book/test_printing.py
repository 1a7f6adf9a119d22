import pytest

from kd_lib.book import printing


def test_without_a_browser_the_error_says_what_to_do_and_nothing_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="no Chromium or Chrome found, which prints the book: install one"):
        printing.write_pdf(tmp_path / "book.pdf")
    assert not list(tmp_path.iterdir())


def test_the_single_page_lies_where_its_addresses_lead_from(tmp_path):
    (tmp_path / "book").mkdir()
    written = '<link href="_static/a.css"><a href="book/first.html#b"></a><script src="../_static/c.js"></script>'
    (tmp_path / "book" / "first.html").write_text(written)
    page = printing._at_the_top(tmp_path, "book/first")
    assert page.parent == tmp_path
    mended = '<link href="_static/a.css"><a href="#b"></a><script src="_static/c.js"></script>'
    assert page.read_text() == mended
