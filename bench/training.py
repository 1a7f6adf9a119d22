"""The trainer beside a plain torchvision `DataLoader` loop on the same network."""

import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

from bench.timing import medians
from kd_lib.data import Dataset
from kd_lib.networks import architectures, training
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.networks.regime import PRECISIONS, Regime

BATCH, WORKERS = {"cpu": 128, "cuda": 1024}, 2
EPOCHS = {"cpu": 1, "cuda": 5}  # of the trainer: on a GPU one is over before its steps are recorded


class Pictures(TorchDataset):
    """Labelled PIL images, each transformed when it is asked for, as torchvision's data sets are."""

    def __init__(self, dataset: Dataset):
        pixels = dataset.train.images.permute(0, 2, 3, 1).numpy()
        self.pictures, self.labels = [Image.fromarray(image) for image in pixels], dataset.train.labels.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(dataset.train.images.shape[-1], padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(dataset.mean.flatten().tolist(), dataset.std.flatten().tolist()),
            ]
        )

    def __len__(self):  # noqa: D105
        return len(self.labels)

    def __getitem__(self, item: int):  # noqa: D105
        return self.transform(self.pictures[item]), self.labels[item]


def loop(dataset: Dataset, arch: str, device: torch.device) -> None:
    """One epoch as it is usually written."""
    model = architectures.build(arch, len(dataset.class_names)).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    size = BATCH[device.type]
    batches = DataLoader(Pictures(dataset), size, shuffle=True, num_workers=WORKERS, pin_memory=device.type == "cuda")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=len(batches))
    for images, labels in batches:
        loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def beside_a_loader(dataset: Dataset, device: torch.device, archs: tuple[str, ...]) -> list[dict]:
    """Images a second of an epoch, checkpoints and tests included for the trainer; a row a network."""
    epochs, batch_size = EPOCHS[device.type], BATCH[device.type]

    def ours(arch: str, precision: str) -> None:
        regime = Regime(
            arch=arch,
            epochs=epochs,
            batch_size=batch_size,
            max_lr=0.05,
            flip=True,
            crop_padding=4,
            precision=precision,
        )
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder))
            training.train("a", dataset, regime, checkpoints=checkpoints, seed=0, device=device.type, verbose=False)

    rows = []
    for arch in archs:
        ways = {precision: (lambda p=precision, a=arch: ours(a, p)) for precision in PRECISIONS}
        taken = medians(ways | {"loader": lambda a=arch: loop(dataset, a, device)})
        rates = {name: (epochs if name in PRECISIONS else 1) * len(dataset.train) / t for name, t in taken.items()}
        rows.append({"network": arch} | rates | {"ratio": max(rates.values()) / rates["loader"]})
    return rows
