"""Measure, print, and write `book/speed.json` and the page of the book that is made of it, `book/speed.md`."""

import json
import sys
from pathlib import Path

import pandas as pd
import torch

from bench import occlusion, page, peers, training
from bench.timing import ROUNDS
from kd_lib import data, files, store

BOOK = Path(__file__).resolve().parent.parent / "book"
ARCHS = ("resnet10", "resnet18")  # trained


def measure(device: torch.device, figures: dict) -> None:
    """Add all figures of one device, printed and written as they come."""
    dataset = data.load("multiview", train_size=2500, test_size=500, probe_per_class=5)
    classes = len(dataset.class_names)
    model = occlusion.trained(dataset, device)
    images = dataset.normalise(dataset.probe.images[: occlusion.IMAGES]).to(device)
    found = figures[device.type] = {}

    def show(name: str, value) -> None:
        found[name] = value.to_dict("records") if hasattr(value, "to_dict") else value
        print(f"\n{device.type}: {name}\n{json.dumps(found[name], indent=1)}", flush=True)
        files.write_text(BOOK / "speed.json", json.dumps(figures, indent=1) + "\n")

    frame = occlusion.beside_peers(model, images, classes)
    others = occlusion.beside_others(model, images)
    show("occlusion", pd.concat([frame, others]))
    show("share of peak", occlusion.share_of_peak(model, images, frame, classes))
    show("growth", occlusion.growth(model, images))
    if device.type == "cpu":
        show("two workers", occlusion.workers(model, images))
    show("training", training.beside_a_loader(dataset, device, ARCHS))
    if device.type == "cpu":
        show("memory", occlusion.memory())


def main() -> None:
    """Measure every device there is."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    figures = {"made by": store.surroundings(), "peers": peers.versions(), "rounds": ROUNDS}
    for device in devices:
        measure(torch.device(device), figures)
    files.write_text(BOOK / "speed.md", page.render(figures))


if __name__ == "__main__":
    sys.exit(main())
