"""The explorer: what its page needs of a run, packed small enough to be a file that the page loads.

The page (`book/explorer.md`, `book/_static/explorer.js`) has no kernel and opens from a folder, where a browser fetches
nothing but scripts. So an edition's data are a script, which hands them over: ``explorerEdition({…});``.

What is packed of a map is not its pixels but what they are made of: how far the output fell while each window was
hidden, the largest of them as 127, the others as whole numbers in proportion. The page averages the windows that cover
a pixel, as `occlusion.saliency_maps` does, so a pixel is off by at most half a step of its map: 1/254 of the largest
fall. Similarities are those of the exact maps.
"""

import base64
import html
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import ArrayLike
from PIL import Image

from kd_lib import _files, study
from kd_lib.book import claims
from kd_lib.figures import charts
from kd_lib.maps import occlusion
from kd_lib.measures.similarity import pearson
from kd_lib.study.reading import ENSEMBLE, Study

NAME = "explorer.js"  # of the packed data in the folder of a published edition
LIMIT = 1_480_000  # characters of a packed edition: half of what a page may weigh
CLASSES, PER_CLASS = 12, 2  # at most: classes that are targets, and images of each
NETWORKS = 4  # at most, components as well as others
STEPS = 4  # epochs before the last that are worth more than a second image of each class
LARGE = 64  # pixels a side, above which an image is packed as a JPEG
SCRIPTLESS = "The explorer needs JavaScript, which is switched off here: the picture below shows what it looks like."
NONE = "No edition of this book keeps maps to explore. `make report` makes one that does, and `make edition` publishes "
NONE += "it."


class Plan(NamedTuple):
    """What is packed: how many classes, how many images of each, and which epochs of which networks."""

    classes: int
    per_class: int
    epochs: dict[str, list[int]]


def pack(here: Study, *, limit: int = LIMIT) -> dict[str, Any]:
    """Pack what the explorer shows of a run.

    The run's occluded logits are complete, and its T_c is known; a FileNotFoundError or ValueError if these or the
    images are missing or not those of the run. The result may have `limit` characters as JSON, roughly; see `plan` for
    what is left out to keep to it.

    It is JSON-able. ``classes``: names of the target classes; ``size``: (height, width); ``patch``, ``rows``, ``cols``:
    the windows, see `occlusion.windows`; ``images``: each with ``number`` in the probe, ``label`` (position in
    ``classes``) and ``picture`` (data URL); ``threshold``; ``unit`` of the maps; ``ensemble``: a state, or None where
    there is no ensemble; ``ensemble_colour``; ``models``: each with ``name``, ``kind``, ``title``, ``colour``,
    ``epochs`` and, for each of these, one of ``states``.

    A state has ``maps``, base64 of int8 (N, K, W), ``scales``, base64 of little-endian float32 (N, K), what a step is
    worth, and, of models, ``to_ensemble`` and ``to_final``: N * K Pearson similarities in thousandths, None where there
    is none.
    """
    dataset, labels, store = here.dataset, here.labels, here.store
    size, patch = store.image_size, store.settings["patch"]
    rows, cols = occlusion.windows(size, patch, store.settings["stride"])
    names = here.components[:NETWORKS] + ([here.distilled] if here.distilled else []) + here.others[:NETWORKS]

    images = [_picture(image) for image in dataset.probe.images[_sample(labels, CLASSES, PER_CLASS)]]
    planned = plan(
        {name: store.epochs(name) for name in names},
        num_classes=len(np.unique(labels)),
        windows=len(rows) * len(cols),
        ensemble=here.has_ensemble,
        characters=limit - sum(map(len, images)),
    )
    chosen = _sample(labels, planned.classes, planned.per_class)
    targets = np.unique(labels[chosen])

    def packed(outputs: np.ndarray) -> dict[str, Any]:
        steps, scales = quantise((outputs[:, :1] - outputs[:, 1:]).transpose(0, 2, 1)[:, targets])
        return {"maps": _base64(steps), "scales": _base64(scales.astype("<f4"))}

    def maps(outputs: np.ndarray) -> np.ndarray:
        return here.saliency_maps(outputs)[:, targets]

    ensemble, reference = None, None
    if here.has_ensemble:
        outputs = here.outputs(ENSEMBLE)[chosen]
        ensemble, reference = packed(outputs), maps(outputs)

    roles, models = here.roles, []
    for name, epochs in planned.epochs.items():
        last, states = maps(here.outputs(name)[chosen]), []
        for epoch in epochs:
            outputs = here.outputs(name, epoch)[chosen]
            own = maps(outputs)
            alike = {"to_final": _thousandths(pearson(own, last))}
            if reference is not None:
                alike["to_ensemble"] = _thousandths(pearson(own, reference))
            states.append(packed(outputs) | alike)
        title = f"component {name}" if roles[name] == "component" else name
        looks = {"kind": roles[name], "title": title, "colour": charts.COLOURS[roles[name]]}
        models.append({"name": name, **looks, "epochs": epochs, "states": states})

    places, pictures = np.searchsorted(targets, labels[chosen]), map(_picture, dataset.probe.images[chosen])
    shown = zip(chosen.tolist(), places.tolist(), pictures, strict=True)
    return {
        "classes": [here.class_names[k] for k in targets],
        "size": list(size),
        "patch": patch,
        "rows": rows,
        "cols": cols,
        "images": [{"number": i, "label": place, "picture": picture} for i, place, picture in shown],
        "threshold": round(here.t_c, 4),
        "unit": "logits" if here.parameters["ensemble_output"] == "logits" else "probability",
        "ensemble": ensemble,
        "ensemble_colour": charts.COLOURS["ensemble"],
        "models": models,
    }


def plan(
    epochs: Mapping[str, Sequence[int]], *, num_classes: int, windows: int, ensemble: bool, characters: int
) -> Plan:
    """Choose what to pack so that it fits.

    Every network's last epoch has its place. Then come two images a class, rather than one, if that leaves room for
    some training; then whole histories, network by network, or a part of the first one's; where even one image a class
    is too much, fewer classes. `epochs` are those stored of each network; `num_classes` have images, a map has so
    many `windows`, there is an `ensemble` or none, and maps and similarities have room for so many `characters`.
    """
    finals = len(epochs) + ensemble
    steps = min(STEPS, max(len(known) - 1 for known in epochs.values()))
    most = min(num_classes, CLASSES)
    choices = [(most, count) for count in range(PER_CLASS, 0, -1)] + [(count, 1) for count in range(most - 1, 0, -1)]
    for classes, per_class in choices:
        maps = classes * classes * per_class
        room = characters // math.ceil(maps * (4 / 3 * (windows + 4) + 10))  # base64; two similarities of five
        if room >= finals + steps:
            break
    spare, kept = max(0, room - finals), {}
    for name, known in epochs.items():
        count = len(known) if len(known) - 1 <= spare else 1 if any(len(k) > 1 for k in kept.values()) else spare + 1
        kept[name] = thin(known, count)
        spare -= len(kept[name]) - 1
    return Plan(classes, per_class, kept)


def thin(epochs: Sequence[int], count: int) -> list[int]:
    """Keep `count` epochs, the last among them; most of the early ones, in which maps change most.

    Steps between those kept grow as in a geometric series, as far as whole epochs allow.
    """
    if count >= len(epochs):
        return list(epochs)
    if count == 1:
        return [epochs[-1]]
    kept = np.rint(np.geomspace(1, len(epochs), count)).astype(int) - 1
    for position in range(1, count):  # early steps would be shorter than an epoch
        kept[position] = max(kept[position], kept[position - 1] + 1)
    return [epochs[position] for position in kept]


def quantise(values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from -127 to 127 in proportion to the values of each map, of shape (..., W).

    Gives steps, int8 (..., W), and scales, float32 (...), what a step is worth: ``steps * scales`` is within half a
    step of the values. The scale is NaN, with steps of 0, where a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        scales = np.abs(values).max(-1) / 127
        scales = np.where(np.isfinite(values).all(-1), scales, np.nan)
        steps = np.rint(values / np.where(scales > 0, scales, np.inf)[..., None])
    return np.nan_to_num(steps, nan=0, posinf=0, neginf=0).astype(np.int8), scales.astype(np.float32)


def write(run: Path, path: Path) -> bool:
    """Write what the explorer needs of a folder, a run's or a published edition's, as a script.

    False if there is nothing to explore: no maps of the run, nor what was packed of them.
    """
    if (packed := run / NAME).is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packed, path)
        return True
    if not (run / "occlusion.zarr").exists():
        return False
    given = _files.read_bytes(run / "parameters" / "rq3.yaml")  # T_c as the answers took it, if as a parameter
    here = study.open(run.resolve(), threshold=(yaml.safe_load(given or b"") or {}).get("threshold"))
    _files.write_text(path, f"explorerEdition({json.dumps(pack(here), separators=(',', ':'))});\n")
    return True


def place(static: Path, folders: Sequence[Path]) -> str:
    """Put what the explorer shows of each run, or of what is kept of it, into the folder of the book's scripts.

    Folders without maps are left out, and so are those of a study that stopped half-way, which has a report
    nevertheless. Gives what the page has in its place, in Markdown: the explorer, or that there is nothing to explore.
    """
    found, lacking = [], ""
    for position, folder in enumerate(folders):
        file = f"explorer/{position}.js"
        try:
            written = write(folder, static / file)
        except (FileNotFoundError, ValueError) as error:
            written, lacking = False, f"\n\nOf `{folder.name}` not all is there: `{error}`."
        if written:
            edition = claims.read_edition(folder)
            found.append({"name": edition.name, "title": edition.title, "file": f"../_static/{file}"})
    return f"```{{raw}} html\n{markup(found)}\n```" if found else NONE + lacking


def markup(editions: Sequence[Mapping[str, str]]) -> str:
    """HTML of the explorer: the script fills it, and without scripts it says why it is empty.

    Of each edition ``name``, ``title`` and ``file`` are given, the address of the data relative to the page.
    """
    data = html.escape(json.dumps(list(editions)), quote=True)
    return f"""<link rel="stylesheet" href="../_static/explorer.css">
<section class="explorer" aria-label="Explorer of saliency maps" data-editions="{data}">
<noscript><p>{SCRIPTLESS}</p></noscript>
</section>
<script src="../_static/explorer.js" defer></script>"""


def _sample(labels: np.ndarray, classes: int, per_class: int) -> np.ndarray:
    """Positions of the first images of some classes, class by class; the classes are spread over all of them."""
    known = np.unique(labels)
    some = known[np.linspace(0, len(known) - 1, min(classes, len(known))).astype(int)]
    return np.concatenate([np.flatnonzero(labels == k)[:per_class] for k in some])


def _thousandths(similarities: np.ndarray) -> list[int | None]:
    return [None if math.isnan(value) else round(1000 * value) for value in similarities.ravel().tolist()]


def _picture(image: ArrayLike) -> str:
    """Turn an image (C, H, W), uint8, into a data URL: lossless, unless it is a large one."""
    pixels, buffer = np.asarray(image).transpose(1, 2, 0), io.BytesIO()
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    kind = "JPEG" if max(pixels.shape[:2]) > LARGE else "PNG"
    Image.fromarray(pixels).save(buffer, kind, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
