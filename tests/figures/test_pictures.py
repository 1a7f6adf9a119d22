import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from kd_lib.figures import pictures

WORDS = {"title": "What it shows", "description": 'Alt text with "quotes" & <tags>'}
PICTURES = {
    "image_grid": lambda: pictures.image_grid([("row", np.zeros((2, 3, 8, 8), np.uint8))], **WORDS),
    "map_grid": lambda: pictures.map_grid(
        [("row", np.zeros((3, 8, 8), np.uint8), [np.eye(8), -np.eye(8)])], ["one", "two"], **WORDS
    ),
    "side_by_side": lambda: pictures.side_by_side(
        [np.zeros((8, 8, 3), np.uint8)], ["one"], description=WORDS["description"]
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_its_alternative_text_and_loads_nothing(name):
    text = PICTURES[name]().data
    assert 'alt="Alt text with &quot;quotes&quot; &amp; &lt;tags&gt;"' in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="https?:', text)


def test_the_same_picture_is_the_same_bytes():
    assert PICTURES["map_grid"]().data == PICTURES["map_grid"]().data


@pytest.mark.parametrize("name", ["Ba$$in", "$x$", r"$\frac{", r"a\$b", "$"])
def test_names_are_shown_as_they_are(name, monkeypatch):
    shown = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: shown.extend(figure.findobj(Text)))
    pixels, words = np.zeros((3, 8, 8), np.uint8), {"title": name, "description": name}
    pictures.image_grid([(name, pixels[None])], **words)
    pictures.map_grid([(name, pixels, [np.eye(8)])], [name], **words)
    pictures.side_by_side([np.zeros((8, 8, 3), np.uint8)], [name], description=name)
    named = [text for text in shown if text.get_text() == name]
    assert len(named) == 6
    assert not any(text.get_parse_math() for text in named)


def test_maps_are_red_above_zero_blue_below_and_white_at_it():
    low, zero, high = pictures.colour_maps([np.array([[-1.0, 0.0, 2.0]])])[0, 0, :, :3].astype(int)
    assert high[0] > high[2]
    assert low[2] > low[0]
    assert (zero > 240).all()
