"""Multi-view images drawn by the project itself, after Allen-Zhu & Li (2020).

Each class owns a few *views*, small coloured textures. A multi-view image shows every view of its class, a single-view
image only one; weaker views of other classes (distractors) are mixed in, each in a cell of its own on a noisy grey
ground. What every image shows, and where, is known, so what a network uses can be found by taking a view away.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

CLASSES = 10
VIEWS = 3
SIZE = 32  # pixels a side
TEXTURE = 9  # pixels a side
GRID = 3  # cells a side
PITCH = 11  # pixels from cell to cell: views jitter by one pixel and never overlap
GREY = 0.5
CONTRAST = 0.38  # root mean square of a texture at strength 1
OWN_STRENGTH = (0.7, 1.0)
DISTRACTOR_STRENGTH = (0.35, 0.7)


def class_names(classes: int = CLASSES) -> tuple[str, ...]:
    """Names of the classes, in label order."""
    return tuple(f"class {k}" for k in range(classes))


def view_names(class_index: int) -> list[str]:
    """Names of the views of a class, in view order; a ValueError if there is no such class."""
    if not 0 <= class_index < CLASSES:
        raise ValueError(f"class_index={class_index!r}: expected 0 to {CLASSES - 1}")
    return [f"view {v + 1}" for v in range(VIEWS)]


@dataclass(frozen=True, eq=False)
class Views:
    """What is known of N drawn images: which views they show, where, and what lies behind them.

    Attributes
    ----------
    images : Tensor (N, 3, 32, 32), uint8
        The images.
    ground : Tensor (N, 3, 32, 32), uint8
        The same images with no view at all: grey and the same noise.
    labels : Tensor (N,), int64
        Class of each image.
    strength : Tensor (N, K, V), float32
        Strength at which each view is drawn; 0 where the image does not show it.
    corner : Tensor (N, K, V, 2), uint8
        Top row and left column of each view; meaningless where the image does not show it.
    """

    images: Tensor
    ground: Tensor
    labels: Tensor
    strength: Tensor
    corner: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def select(self, rows) -> "Views":
        """Keep the given rows (indices or a Boolean mask), in the order given."""
        return Views(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def present(self) -> Tensor:
        """Which views each image shows, as bool (N, K, V)."""
        return self.strength > 0

    @property
    def own(self) -> Tensor:
        """Which views of its own class each image shows, as bool (N, V)."""
        return self.present[torch.arange(len(self)), self.labels]

    @property
    def single(self) -> Tensor:
        """Which images show just one view of their own class, as bool (N,)."""
        return self.own.sum(1) == 1

    def masks(self, rows=None) -> Tensor:
        """Exact support of each view.

        Parameters
        ----------
        rows : indices or bool mask, optional
            The images asked for, all by default. A mask takes 30 kB an image.

        Returns
        -------
        Tensor (N, K, V, 32, 32), bool
            True where the view is drawn; all False where the image does not show it.
        """
        rows = slice(None) if rows is None else rows
        return _support(self.corner[rows]) & self.present[rows][..., None, None]

    def without(self, view_class: int | Tensor, view: int | Tensor) -> Tensor:
        """Draw the images again without one view: same noise, same ground, same everything else.

        Parameters
        ----------
        view_class, view : int or Tensor (N,)
            The view to leave out, the same for all images or one for each.

        Returns
        -------
        Tensor (N, 3, 32, 32), uint8
            Images that do not show the view come back unchanged.

        Raises
        ------
        ValueError
            If there is no such class or view.
        """
        _, classes, views = self.strength.shape
        chosen = []
        for name, value, count in (("view_class", view_class, classes), ("view", view, views)):
            value = torch.as_tensor(value)
            if value.shape not in ((), (len(self),)):
                raise ValueError(f"{name} has shape {tuple(value.shape)}: expected one integer or one for each image")
            if value.is_floating_point() or ((value < 0) | (value >= count)).any():
                raise ValueError(f"{name}={value.tolist()}: expected integers from 0 to {count - 1}")
            chosen.append(value.long())
        at = (torch.arange(len(self)), *chosen)
        mask = _support(self.corner[at]) & self.present[at][:, None, None]
        return torch.where(mask[:, None], self.ground, self.images)


def draw(
    n: int,
    *,
    single_view: float = 0.2,
    seed: int = 0,
    texture_seed: int = 0,
    classes: int = CLASSES,
    views: int = VIEWS,
    distractors: int = 3,
    noise: float = 0.3,
) -> tuple[Tensor, Tensor, Views]:
    """Draw multi-view images.

    Parameters
    ----------
    n : int
        Number of images; classes are as equal in number as n allows.
    single_view : float
        Probability that an image shows one view of its class instead of all of them.
    seed, texture_seed : int
        Seed of the images, and of the textures they are made of. The result depends on the arguments alone.
    classes, views : int
        Number of classes K, and of views V of each class.
    distractors : int
        Number of views of other classes in every image.
    noise : float
        Standard deviation of the pixel noise, in units of the full intensity range, before clipping.

    Returns
    -------
    images : Tensor (n, 3, 32, 32), uint8
    labels : Tensor (n,), int64
    views : Views

    Raises
    ------
    ValueError
        If a number is out of range, or the image has too few cells for the views and distractors.

    References
    ----------
    Z. Allen-Zhu and Y. Li, "Towards Understanding Ensemble, Knowledge Distillation and Self-Distillation in Deep
    Learning", arXiv:2012.09816, Definition 3.1.
    """
    _check(n, single_view, classes, views, distractors, noise)
    generator = _generator(seed, 0)
    labels = torch.randperm(n, generator=generator) % classes

    shown = views + distractors
    own = _own_views(labels, views, single_view, generator)
    others = _other_views(labels, classes, views, distractors, generator)
    what = torch.cat([labels[:, None] * views + torch.arange(views), others], 1)  # (n, shown), index into K * V
    low, high = torch.tensor([OWN_STRENGTH] * views + [DISTRACTOR_STRENGTH] * distractors).T
    strength = low + (high - low) * torch.rand(n, shown, generator=generator)
    strength[:, :views] *= own

    cell = torch.rand(n, GRID**2, generator=generator).argsort(1)[:, :shown]
    corner = PITCH * torch.stack([cell // GRID, cell % GRID], 2)
    corner += torch.randint(0, 2, corner.shape, generator=generator)

    canvas = torch.randn(n, 3, SIZE, SIZE, generator=generator).mul_(noise).add_(GREY)
    ground = _to_uint8(canvas)
    patches = textures(texture_seed, classes=classes, views=views).flatten(0, 1)
    row = corner[..., 0, None] + torch.arange(TEXTURE)
    column = corner[..., 1, None] + torch.arange(TEXTURE)
    image, channel = torch.arange(n)[:, None, None, None], torch.arange(3)[:, None, None]
    for slot in range(shown):
        patch = patches[what[:, slot]] * strength[:, slot, None, None, None]
        at = (image, channel, row[:, slot, None, :, None], column[:, slot, None, None, :])
        canvas.index_put_(at, patch, accumulate=True)
    images = _to_uint8(canvas)

    known = Views(
        images=images,
        ground=ground,
        labels=labels,
        strength=torch.zeros(n, classes * views).scatter_(1, what, strength).unflatten(1, (classes, views)),
        corner=torch.zeros(n, classes * views, 2, dtype=torch.uint8)
        .scatter_(1, what[..., None].expand(-1, -1, 2), corner.byte())
        .unflatten(1, (classes, views)),
    )
    return images, labels, known


def textures(seed: int = 0, *, classes: int = CLASSES, views: int = VIEWS) -> Tensor:
    """Draw the texture of every view, two oriented gratings in two random colours: float32 (K, V, 3, 9, 9).

    Each has zero mean in each channel and root mean square `CONTRAST` over channels and pixels. The result depends on
    the arguments alone.
    """
    generator = _generator(seed, 1)
    shape = (classes, views, 2, 1, 1, 1)  # two gratings; channel, row, column
    angle, phase = np.pi * torch.rand(2, *shape, generator=generator) * torch.tensor([1, 2]).view(2, *[1] * 6)
    cycles = 1 + 1.5 * torch.rand(shape, generator=generator)  # a texture
    colour = torch.randn(classes, views, 2, 3, 1, 1, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(TEXTURE) / TEXTURE] * 2, indexing="ij")
    wave = torch.sin(2 * np.pi * cycles * (x * angle.cos() + y * angle.sin()) + phase)
    texture = (colour * wave).sum(2)
    texture -= texture.mean((-2, -1), keepdim=True)
    return CONTRAST * texture / texture.square().mean((-3, -2, -1), keepdim=True).sqrt()


def _own_views(labels: Tensor, views: int, single_view: float, generator: torch.Generator) -> Tensor:
    """Which views of its own class an image shows: bool (N, V)."""
    n = len(labels)
    single = torch.rand(n, 1, generator=generator) < single_view
    kept = torch.randint(0, views, (n, 1), generator=generator)
    return ~single | (torch.arange(views) == kept)


def _other_views(labels: Tensor, classes: int, views: int, count: int, generator: torch.Generator) -> Tensor:
    """Distinct views of other classes: int64 (N, count), class * V + view."""
    order = torch.rand(len(labels), classes * views, generator=generator)
    order[torch.arange(classes * views) // views == labels[:, None]] = 2  # own views sort last
    return order.argsort(1)[:, :count]


def _support(corner: Tensor) -> Tensor:
    """Square of texture size at each corner: (..., 2) -> bool (..., 32, 32)."""
    pixel = torch.arange(SIZE)
    inside = (pixel >= corner[..., None]) & (pixel < corner[..., None].int() + TEXTURE)  # (..., 2, 32)
    return inside[..., 0, :, None] & inside[..., 1, None, :]


def _to_uint8(canvas: Tensor) -> Tensor:
    return canvas.mul(255).round_().clamp_(0, 255).byte()


def _generator(seed: int, stream: int) -> torch.Generator:
    """Independent streams for images and textures, even where their seeds are equal."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1)[0]))


def _check(n: int, single_view: float, classes: int, views: int, distractors: int, noise: float) -> None:
    if n < 1 or classes < 2 or views < 1 or distractors < 0:
        raise ValueError(
            f"n={n}, classes={classes}, views={views}, distractors={distractors}: "
            "expected at least 1 image, 2 classes, 1 view and 0 distractors"
        )
    if views + distractors > GRID**2:
        raise ValueError(f"views={views} and distractors={distractors}: expected at most {GRID**2} in one image")
    if distractors > (classes - 1) * views:
        raise ValueError(f"distractors={distractors}: the other classes have only {(classes - 1) * views} views")
    if not 0 <= single_view <= 1:
        raise ValueError(f"single_view={single_view}: expected a probability from 0 to 1")
    if not noise >= 0:
        raise ValueError(f"noise={noise}: expected a standard deviation of 0 or more")
