"""A data set that any network learns, and trainings on it."""

import torch

from kd_lib.data import Dataset, Split
from kd_lib.networks import architectures, techniques, training
from kd_lib.networks.checkpoints import Checkpoints

SMALL = "shufflenet_v2_x0_5"  # 0.3 million weights, batch normalisation
DROPOUT = "mobilenet_v3_small"  # draws random numbers in its forward pass
CLASSES = ("red", "green", "blue")
EPOCHS = 6
KILLED = {
    "component": {"name": "a", "optimiser": "sgd"},
    "distilled": {"name": "distilled", "optimiser": "adam", "max_lr": 0.005},
    "mixing": {"name": "cutmix", "mix": techniques.cutmix},
}


def coloured(n=48, size=32, seed=0):
    """A data set that any network learns: class k is bright in channel k."""
    generator = torch.Generator().manual_seed(seed)

    def split(count):
        labels = torch.arange(count) % 3
        images = torch.randint(0, 120, (count, 3, size, size), dtype=torch.uint8, generator=generator)
        images[torch.arange(count), labels] += 100
        return Split(images, labels, torch.arange(count))

    train = split(n)
    pixels = train.images.float().transpose(0, 1).flatten(1) / 255
    return Dataset("coloured", CLASSES, train, split(12), split(6), pixels.mean(1), pixels.std(1))


def regime(**changes):
    return training.Regime(**{"arch": SMALL, "epochs": 2, "batch_size": 16, "max_lr": 0.01} | changes)


def net(seed=0, arch=SMALL):
    torch.manual_seed(seed)
    return architectures.build(arch, 3)


def train(folder, name="a", data=None, *, seed=0, verbose=False, **options):
    changes = {key: options.pop(key) for key in training.Regime.__dataclass_fields__ if key in options}
    options |= {"checkpoints": Checkpoints(folder), "seed": seed, "verbose": verbose, "device": "cpu"}
    return training.train(name, coloured() if data is None else data, regime(**changes), **options)


def weights(folder, name="a"):
    return {file.name: file.read_bytes() for file in sorted((folder / name).glob("*.safetensors"))}


def files_in(folder):
    return [file for file in folder.rglob("*") if file.is_file()]


def train_in_child(folder, case):
    """Train in a process that is to be killed; it imports this module, which wants no pytest."""
    torch.set_num_threads(1)
    options = dict(KILLED[case])
    teacher = architectures.Ensemble([net(1), net(2)]) if case == "distilled" else None
    train(folder, data=coloured(n=64), teacher=teacher, arch=DROPOUT, epochs=EPOCHS, flip=True, **options)
