"""Formulae, and tables that cells show, as a page gets them from Sphinx and MyST-NB."""

import re
import subprocess
import sys

import nbformat
import nbformat.v4 as v4
from sphinx.application import Sphinx

PAGE = """# T

Inline $T_c = \\frac{1}{2}$.

$$ \\sum_k p_k $$ (eq-sum)

See {eq}`eq-sum`.
"""

PROSE = "# T\n\nSee {numref}`tab-b` and {numref}`fig-a`.\n\n:::{table} Of prose.\n| x |\n|---|\n| 1 |\n:::"

SETTINGS = """
extensions = ["myst_nb", "kd_lib.book.sphinx_ext"]
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"
numfig = True
"""


def test_formulae_are_drawn_by_the_browser_numbered_and_referred_to(tmp_path):
    (tmp_path / "index.md").write_text(PAGE)
    settings = {"extensions": ["myst_parser", "kd_lib.book.sphinx_ext"], "myst_enable_extensions": ["dollarmath"]}
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


def shown(name, **more):
    """Make a cell that shows some HTML with a caption."""
    output = v4.new_output("display_data", {"text/html": f"<i>what {name} shows</i>"})
    figure = {"name": name, "caption": f"Of {name}."} | more
    return v4.new_code_cell("show()", outputs=[output], metadata={"mystnb": {"figure": figure}})


def test_they_are_counted_with_the_tables_of_prose_and_come_after_their_caption(tmp_path):
    table = {"caption_before": True, "classes": "numbered-table"}
    cells = [v4.new_markdown_cell(PROSE), shown("fig-a"), shown("tab-a", **table), shown("tab-b", **table)]
    notebook = v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python", "pygments_lexer": "python"}})
    (tmp_path / "index.ipynb").write_text(nbformat.writes(notebook))
    (tmp_path / "conf.py").write_text(SETTINGS)
    out = tmp_path / "out"
    # In a process of its own: MyST-NB changes Sphinx for all that comes after.
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", tmp_path, out], check=True)
    page = (out / "index.html").read_text()
    numbers = re.findall(r'caption-number">([^<]*) </span><span class="caption-text">([^<]*)<', page)
    assert numbers == [
        ("Table 1", "Of prose."),
        ("Fig. 1", "Of fig-a."),
        ("Table 2", "Of tab-a."),
        ("Table 3", "Of tab-b."),
    ]
    links = re.findall(r'href="#([^"]*)"><span class="std std-numref">([^<]*)<', page)
    assert links == [("tab-b", "Table 3"), ("fig-a", "Fig. 1")]
    for name in ("tab-a", "tab-b"):
        (figure,) = re.findall(rf'(?s)<figure [^>]*id="{name}">(.*?)</figure>', page)
        assert re.search(rf"(?s)Of {name}\..*</figcaption>.*what {name} shows", figure)
        assert figure.count("figcaption>") == 2
