import pytest

from kd_lib import printing


def test_without_a_browser_the_error_says_what_to_do_and_nothing_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="no Chromium or Chrome found, which prints the book: install one"):
        printing.write_pdf(tmp_path, tmp_path / "book.pdf")
    assert not list(tmp_path.iterdir())
