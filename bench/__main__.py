"""Measure, print, and write `book/speed.json` and the page of the book that is made of it, `book/speed.md`.

``python -m bench [cpu] [cuda]``: both by default, as far as there are; what was measured of the other one stays.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import torch

from bench import occlusion, page, peers, training
from bench.timing import ROUNDS
from kd_lib import _files, data
from kd_lib.networks.training import pick_device
from kd_lib.study import run as run_folder

BOOK = Path(__file__).resolve().parent.parent / "book"
FIGURES = BOOK / "speed.json"
ARCHS = {"cpu": ("resnet10", "resnet18"), "cuda": ("resnet18",)}  # trained
TRAINING = {"cpu": 2500, "cuda": 20_000}  # images


def measure(device: torch.device, figures: dict) -> None:
    """Put all figures of one device in the place of those there are, printed and written as they come."""
    count = occlusion.IMAGES[device.type]
    sizes = {"train_size": TRAINING[device.type], "test_size": max(500, 2 * count), "probe_per_class": count // 10 + 1}
    dataset = data.load("multiview", **sizes)
    classes = len(dataset.class_names)
    model = occlusion.trained(dataset, device)
    images = dataset.normalise(dataset.probe.images[:count]).to(device)
    found = {"made by": run_folder.surroundings(), "peers": peers.versions(), "rounds": ROUNDS}

    def show(name: str, value) -> None:
        found[name] = value.to_dict("records") if hasattr(value, "to_dict") else value
        print(f"\n{device.type}: {name}\n{json.dumps(found[name], indent=1)}", flush=True)
        _files.write_text(FIGURES, json.dumps(figures | {device.type: found}, indent=1) + "\n")

    frame = occlusion.beside_peers(model, images, classes)
    others = occlusion.beside_others(model, images)
    show("occlusion", pd.concat([frame, others]))
    show("share of peak", occlusion.share_of_peak(model, images, frame, classes))
    show("training", training.beside_a_loader(dataset, device, ARCHS[device.type]))
    show("growth", occlusion.growth(model, images))
    if device.type == "cpu":
        show("two workers", occlusion.workers(model, images))
        show("memory", occlusion.memory())
    figures[device.type] = found


def main(devices: list[str]) -> None:
    """Measure these devices, by default all there are; what was measured of another one stays."""
    devices = devices or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    for device in devices:
        measure(pick_device(device), figures)
    _files.write_text(BOOK / "speed.md", page.render(figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
