"""Editions of the published book: what is kept of a run, how it was made, and whether it can be made again.

An edition's folder holds ``run.json``, the tables that claims refer to (``results/``), the maps that the explorer shows
(``explorer.js``), executed notebooks, and ``slice.csv``: the first component's first epochs, in numbers. `verify` makes
that slice again, from the images on, and compares.
"""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from kd_lib import _files, study
from kd_lib.book import chapters, claims, explorer, verdicts
from kd_lib.book.markdown import table
from kd_lib.data import Dataset
from kd_lib.study.reading import Study
from kd_lib.study.run import read_results

SLICE = "slice.csv"
EPOCHS = 2  # of the slice, after epoch 0
OCCLUSION = "occlusion"  # entry of run.json: the settings of the maps
SAME, CLOSE, CANNOT_TELL, DIFFERS = "the same", "close", "cannot tell", "differs"
# How much a quantity may differ, relative to the one that is kept. Sums in another order are the same but for rounding.
# On another processor every product is rounded otherwise, and training magnifies that from step to step: means over an
# epoch's steps stay close (a few per cent, with AVX2 instead of AVX-512), what a network answers after them does not.
ROUNDING, UNTRAINED, LEARNING = 1e-5, 1e-3, 0.2
LEARNT = ("loss", "train_accuracy")
_PLACES = re.compile(r"(?m)^(?:root|models|human_labels) = .*\n?")  # parameters that name places of a machine
_RUN = re.compile(r"(?m)^run = .*$")


def name_of(run: Path) -> str:
    """Name of the edition that a run makes unless another is given: there is one of each kind of images."""
    return "controlled" if claims.read_edition(run).parameters.get("data_set") == "multiview" else "photographs"


def keep(run: Path, folder: Path) -> None:
    """Keep what the published book needs of a run.

    `run` is complete; `folder` is the edition's: what was there before is replaced, once the new one is complete. A
    ValueError if a notebook is larger than a page of the book may be, a FileNotFoundError if the run lacks something.
    """
    edition = claims.read_edition(run)
    entries = {"parameters": edition.parameters, "class_names": edition.class_names} | dict(edition.made)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".edition-") as temporary:
        new = Path(temporary) / "new"
        _files.write_json(new / "run.json", entries)
        for name in edition.tables:
            _files.write_bytes(new / "results" / f"{name}.csv", (run / "results" / f"{name}.csv").read_bytes())
        if (numbers := slice_of(study.open(run))) is not None:
            _files.write_bytes(new / SLICE, numbers.to_csv(index=False).encode())
        explorer.write(run, new / explorer.NAME)
        _keep_notebooks(run, new / "notebooks", folder.name)
        if folder.exists():
            os.replace(folder, Path(temporary) / "previous")
        os.replace(new, folder)


def _keep_notebooks(run: Path, folder: Path, name: str) -> None:
    """Keep executed notebooks: what they say, without what differs each time."""
    for source in chapters.sources():
        node = chapters.without_widgets(nbformat.read(run / "notebooks" / f"{source.stem}.ipynb", as_version=4))
        for cell in node.cells:
            cell.metadata = {k: v for k, v in cell.metadata.items() if k not in ("papermill", "execution")}
            if cell.cell_type == "code":
                cell.outputs = chapters.without_progress(cell.outputs)
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.source = _RUN.sub(f'run = "runs/{name}"', _PLACES.sub("", cell.source))
        node.metadata = nbformat.from_dict({"kernelspec": chapters.KERNEL})
        text = nbformat.writes(node) + "\n"
        if (size := len(text.encode())) > chapters.PAGE_LIMIT:
            limit = f"a page may have {chapters.PAGE_LIMIT / 1e6:.0f}"
            raise ValueError(f"{source.stem}.ipynb has {size / 1e6:.1f} MB; {limit}")
        _files.write_text(folder / f"{source.stem}.ipynb", text)


# ---- how it was made -------------------------------------------------------------------------------------------------


def made(judged: Sequence[claims.Edition]) -> str:
    """Say in Markdown how editions were made: hardware, versions, commit, seeds, run times, parameters and tables."""
    return "\n\n".join(map(_made, judged)) or verdicts.NO_EDITION


def _made(edition: claims.Edition) -> str:
    known, parameters, row = edition.made, edition.parameters, verdicts.used_threshold(edition)
    hardware, heading = known.get("hardware", {}), verdicts.heading(edition)
    facts = {
        "Begun": str(known.get("created", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Commit of the code": f"`{known['commit'][:12]}`" if "commit" in known else "",
        "Processor": f"{hardware.get('cpu')}, {hardware.get('cores')} cores" if hardware else "",
        "GPU": hardware.get("gpu") or ("none" if hardware else ""),
        "Threads of each process": known.get("threads", ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in known.get("versions", {}).items()),
        "Seed": parameters.get("seed", ""),
        "Images": known.get("data_title", parameters.get("data_set", "")),
        "Fingerprint of the images": f"`{known['dataset_fingerprint'][:12]}`" if "dataset_fingerprint" in known else "",
        "Maps": ", ".join(f"{key} {value}" for key, value in known.get("occlusion", {}).items()),
        "Training took": duration(known["seconds_training"]) if "seconds_training" in known else "",
        "Explaining took": duration(known["seconds_occlusion"]) if "seconds_occlusion" in known else "",
        "T_c": "" if row is None else f"{row['value']:.2f}, from: {row['source']}",
        "Tables kept": ", ".join(f"`{name}`" for name in edition.tables),
    }
    rows = [[f"**{key}**", value] for key, value in facts.items() if value != ""]
    if unknown := [key for key, value in facts.items() if value == ""]:
        rows.append(["**Not recorded**", ", ".join(unknown)])
    settings = [[f"`{key}`", f"`{value}`"] for key, value in parameters.items()]
    shown = table(["what", "in this edition"], rows, f"How it was made: {heading}.")
    folded = table(["parameter", "value"], settings, f"Its parameters: {heading}.")
    title = "All parameters that decide what the run computes"
    return f"## {heading}\n\n{shown}\n\n::::{{dropdown}} {title}\n{folded}\n::::"


def duration(seconds: float) -> str:
    """Write a duration in hours, minutes and seconds, such as 4 min 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "less than a second"


# ---- the slice -------------------------------------------------------------------------------------------------------


def slice_of(here: Study) -> pd.DataFrame | None:
    """Describe a small part of a run in numbers: the first component's first epochs.

    Columns epoch (0 … 2), quantity, image (index in the data set), target and value. Quantities of an epoch: loss,
    train accuracy, test accuracy. Quantities of the first probe image of each class, for every target: the output, and
    its fall, the largest while a part of the image is hidden. None if no component was trained here.
    """
    if not here.components or "arch" not in here.parameters:
        return None
    name, frames = here.components[0], []
    history = here.run.read_csv("history", made_by="train_models")
    history = history[(history["model"] == name) & (history["epoch"] <= EPOCHS)]
    for column in ("loss", "train_accuracy", "test_accuracy"):
        frames.append(pd.DataFrame({"epoch": history["epoch"], "quantity": column, "value": history[column]}))
    rows = _first_of_each(here.labels)
    for epoch in (e for e in here.store.epochs(name) if e <= EPOCHS):
        logits = here.store.logits(name, epoch)[rows]
        images, targets = np.indices((len(rows), logits.shape[-1]))
        where = {"epoch": epoch, "image": here.store.index[rows][images.ravel()], "target": targets.ravel()}
        values = {"output": logits[:, 0], "fall": logits[:, 0] - logits[:, 1:].min(axis=1)}
        frames += [pd.DataFrame(where | {"quantity": key, "value": value.ravel()}) for key, value in values.items()]
    frame = pd.concat(frames, ignore_index=True)[["epoch", "quantity", "image", "target", "value"]]
    return frame.dropna(subset="value").astype({"image": "Int64", "target": "Int64"})


def _first_of_each(labels: np.ndarray) -> np.ndarray:
    """Rows of the first image of each class, in the images' order."""
    return np.sort(np.unique(labels, return_index=True)[1])


def verify(folder: Path, *, root: str | None = None, executor: str = "local:2", device: str = "auto") -> pd.DataFrame:
    """Make the slice of an edition again, from the images on, and compare it with the one that is kept.

    `root` is the folder of its images, where they are not drawn by the project; for the `executor` see
    `_workers.connect`: as many threads compute to the same bits. A FileNotFoundError if there is no such edition, or it
    keeps no slice; a ValueError if the images are others.

    A row an epoch and quantity: epoch, quantity, values (how many), difference, allowed, verdict. The difference is the
    root of the summed squares of differences, relative to that of what is kept. The verdict is 'the same' but for
    rounding, 'close' within what is allowed on another processor, 'cannot tell' of what a network answers after
    training, if it is not the same, or 'differs'.
    """
    kept = _read(folder)
    entries = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    parameters = entries["parameters"]
    dataset = study.images(parameters, root)
    if dataset.fingerprint != entries["dataset_fingerprint"]:
        raise ValueError(
            f"these images are not those of edition {folder.name}: their fingerprint is {dataset.fingerprint[:12]}, "
            f"expected {entries['dataset_fingerprint'][:12]}; give the folder that the edition was made from as ROOT"
        )
    with tempfile.TemporaryDirectory() as temporary:
        again = slice_of(_make_again(Path(temporary), entries, dataset, executor=executor, root=root, device=device))
    return compare(kept, again, precision=entries[OCCLUSION]["precision"])


def _read(folder: Path) -> pd.DataFrame:
    if not (folder / "run.json").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("*/run.json"))
        raise FileNotFoundError(f"no edition {folder.name!r}; there are: {', '.join(known) or 'none'}")
    if not (folder / SLICE).is_file():
        raise FileNotFoundError(f"edition {folder.name!r} keeps no slice ({SLICE}): its networks were not trained here")
    return read_results((folder / SLICE).read_bytes())


def _make_again(folder: Path, entries: dict, dataset: Dataset, *, root: str | None, **where) -> Study:
    """Train and explain what the slice is about, in a run of its own."""
    parameters = entries["parameters"] | {"root": root}
    recipes = study.pipeline.recipes(parameters | {"components": 1}, len(dataset.class_names))
    name = next(iter(recipes))  # no student
    here = study.pipeline.begin(folder, parameters, dataset, networks={name: recipes[name]})
    study.pipeline.train(here, until=EPOCHS, **where)
    states = [(name, epoch) for epoch in here.run.checkpoints.epochs(name)]
    probe = dataset.probe.select(_first_of_each(dataset.probe.labels.numpy()))
    study.pipeline.explain(here, states, entries[OCCLUSION], probe=probe, **where)
    return here


def compare(kept: pd.DataFrame, again: pd.DataFrame, *, precision: str = "float32") -> pd.DataFrame:
    """Compare two slices, see `verify`; a value that only one of them has counts as a difference without bound."""
    keys = ["epoch", "quantity", "image", "target"]
    both = kept.merge(again, on=keys, how="left", suffixes=("", " again"))
    rows = []
    for (epoch, quantity), of in both.groupby(["epoch", "quantity"], sort=False):
        apart = np.linalg.norm(of["value again"] - of["value"]) / max(np.linalg.norm(of["value"]), 1e-9)
        difference = np.inf if np.isnan(apart) else apart
        allowed = UNTRAINED if epoch == 0 and precision == "float32" else LEARNING
        comparable = epoch == 0 or quantity in LEARNT or np.isinf(difference)
        verdict = CLOSE if difference <= allowed else DIFFERS
        verdict = SAME if difference <= ROUNDING else verdict if comparable else CANNOT_TELL
        rows.append((epoch, quantity, len(of), difference, allowed, verdict))
    columns = ["epoch", "quantity", "values", "difference", "allowed", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def summary(name: str, verdicts: Sequence[str]) -> str:
    """Say in a line what a comparison found."""
    if DIFFERS in verdicts:
        return f"edition {name}: NOT made again, {list(verdicts).count(DIFFERS)} of {len(verdicts)} quantities differ"
    if CLOSE in verdicts or CANNOT_TELL in verdicts:
        return f"edition {name}: made again, as closely as another processor or version allows"
    return f"edition {name}: made again, the same but for rounding"
