"""Pictures of pixels (matplotlib): images and saliency maps in a grid, each with its alternative text."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from IPython.display import HTML

MAP_COLOURS = "RdBu_r"  # red raises the score, blue lowers it; safe for colour-blind readers


def image_grid(rows: Sequence[tuple[str, np.ndarray]], *, title: str, description: str) -> HTML:
    """Rows of images, each row with a name.

    Parameters
    ----------
    rows : sequence of (name, images)
        ``images`` is uint8 (n, C, H, W); every row has the same n.
    title, description : str
        What the figure shows, above it, and its alternative text.
    """
    columns = max(len(images) for _, images in rows)
    figure, axes = _grid(len(rows), columns, (0.85 * columns + 1, 0.85 * len(rows) + 0.4))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (name, images) in zip(axes, rows, strict=True):
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for axis, image in zip(line, np.asarray(images), strict=False):
            axis.imshow(image.transpose(1, 2, 0), interpolation="nearest")
    figure.suptitle(title, fontsize=11)
    return _picture(figure, description)


def map_grid(
    rows: Sequence[tuple[str, np.ndarray, Sequence[np.ndarray]]],
    columns: Sequence[str],
    *,
    title: str,
    description: str,
    shared: bool = True,
) -> HTML:
    """Saliency maps in rows and columns, each row led by the image it explains.

    Red raises the class's score, blue lowers it; the colour scale is symmetric about zero, so white is no effect.

    Parameters
    ----------
    rows : sequence of (name, image, maps)
        ``image`` is uint8 (C, H, W); ``maps`` holds one (H, W) array a column.
    columns : sequence of str
        Names of the columns of maps.
    title, description : str
        See `image_grid`.
    shared : bool
        One colour scale for a row (True), or one for every map (False: for methods with different units).
    """
    figure, axes = _grid(len(rows), len(columns) + 1, (0.9 * len(columns) + 1.9, 0.9 * len(rows) + 0.7))
    for line, (name, image, maps) in zip(axes, rows, strict=True):
        line[0].imshow(np.asarray(image).transpose(1, 2, 0), interpolation="nearest")
        line[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
        for axis, saliency in zip(line[1:], maps, strict=True):
            limit = _largest(maps if shared else saliency)
            axis.imshow(saliency, cmap=MAP_COLOURS, vmin=-limit, vmax=limit, interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[0], ["image", *columns], strict=True):
        axis.set_title(name, fontsize=8)
    figure.suptitle(title, fontsize=11)
    return _picture(figure, description)


def side_by_side(images: Sequence[np.ndarray], names: Sequence[str], *, description: str) -> HTML:
    """Images (H, W, 3 or 4), uint8, side by side, each under its name; `description` is the alternative text."""
    figure, axes = _grid(1, len(images), (2.2 * len(images), 2.4))
    for axis, image, name in zip(axes[0], images, names, strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=9)
    return _picture(figure, description)


def colour_maps(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Colour maps as `map_grid` does, all on one scale that is symmetric about zero.

    Parameters
    ----------
    maps : sequence of M ndarray, each of shape (H, W)

    Returns
    -------
    ndarray of uint8, shape (M, H, W, 4)
        Red, green, blue and opacity.
    """
    import matplotlib  # takes seconds, as in `_grid`

    values = np.stack(maps)
    limit = _largest(values)
    return np.asarray(matplotlib.colormaps[MAP_COLOURS]((values / limit + 1) / 2, bytes=True))


def _largest(values) -> float:
    """Largest magnitude of finite numbers, 1 if there is none but 0: the end of a colour scale."""
    return float(np.max(np.abs(values), where=np.isfinite(values), initial=0)) or 1.0


def _grid(rows: int, columns: int, size: tuple[float, float]):
    """Begin a picture of `rows` x `columns` axes, `size` in inches."""
    from matplotlib.figure import Figure  # takes seconds to import, and most pages have no picture

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _picture(figure, alt_text: str) -> HTML:
    from matplotlib.text import Text  # takes seconds, as in `_grid`

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may be called $$
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    style = "max-width:100%;height:auto"
    return HTML(f'<img alt="{html.escape(alt_text, quote=True)}" style="{style}" src="data:image/png;base64,{data}">')
