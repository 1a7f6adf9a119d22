"""Formulae, as a page gets them from Sphinx."""

import re

from sphinx.application import Sphinx

PAGE = """# T

Inline $T_c = \\frac{1}{2}$.

$$ \\sum_k p_k $$ (eq-sum)

See {eq}`eq-sum`.
"""


def test_formulae_are_drawn_by_the_browser_numbered_and_referred_to(tmp_path):
    (tmp_path / "index.md").write_text(PAGE)
    settings = {"extensions": ["myst_parser", "kd_lib.book.mathml"], "myst_enable_extensions": ["dollarmath"]}
    settings |= {"html_math_renderer": "mathml"}
    out = tmp_path / "out"
    Sphinx(tmp_path, None, out, tmp_path / "doctrees", "html", settings, status=None, warningiserror=True).build()
    page = (out / "index.html").read_text()
    assert re.search("<math[^>]*><mrow><msub><mi>T</mi><mi>c</mi></msub>.*<mfrac>", page)
    assert re.search(
        '<div class="math[^>]*id="equation-eq-sum">\\s*<span class="eqno">\\(1\\)</span><math[^>]*block', page
    )
    assert 'href="#equation-eq-sum"' in page
    assert "mathjax" not in page.replace("mathjax_ignore", "").lower()
