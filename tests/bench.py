"""`make bench`: the occlusion engine and the trainer beside their peers, as ratios of medians in one process."""

import tempfile
import time
from statistics import median

import torch
from captum.attr import Occlusion
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from kd_lib import data, models, occlusion, rewrite, store, training

ROUNDS = 3


def seconds(*functions):
    """Median time of each function, called in turn so that a change of the machine's speed meets all of them."""
    taken = [[] for _ in functions]
    for _ in range(ROUNDS):
        for times, function in zip(taken, functions, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [median(times) for times in taken]


def bench_occlusion(arch, images, stride):
    model = models.build(arch, 10).eval()
    windows = 1 + len(occlusion.windows((32, 32), 4, stride)[0]) ** 2

    def ours():
        logits = occlusion.occluded_logits(model, images, patch=4, stride=stride)
        occlusion.saliency_maps(logits, image_size=(32, 32), patch=4, stride=stride)

    def captum():
        with torch.inference_mode():
            options = {"sliding_window_shapes": (3, 4, 4), "strides": (3, stride, stride)}
            Occlusion(model).attribute(images, target=None, perturbations_per_eval=32, **options)

    as_it_is = models.build(arch, 10).eval()
    as_it_is.register_forward_hook(lambda *_: None)  # a network with a hook is not rewritten

    def unrewritten():
        occlusion.occluded_logits(as_it_is, images, patch=4, stride=stride)

    mine, peer, plain = seconds(ours, captum, unrewritten)
    rate = len(images) * windows / mine
    print(
        f"occlusion {arch}, stride {stride}: {peer / mine:.2f} x Captum's speed, {plain / mine:.2f} x the speed of the "
        f"network as it is ({rate:.0f} occluded images/s)"
    )


def bench_products(arch, images):
    model = models.build(arch, 10).to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    learner = rewrite.with_products(model, images[:1])
    mine, peer = seconds(lambda: learner(images).sum().backward(), lambda: model(images).sum().backward())
    print(f"a training step of {arch}: {peer / mine:.2f} x the speed of the network as it is")


def bench_training(dataset):
    regime = training.Regime(epochs=1)
    augment = v2.Compose([v2.RandomCrop(32, padding=4), v2.ToDtype(torch.float32, scale=True)])

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            training.train("a", dataset, regime, run=store.Run(folder), seed=0, verbose=False)

    def loader():
        model = models.build("resnet10", 10)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        pairs = list(zip(dataset.train.images, dataset.train.labels, strict=True))
        for batch in DataLoader(pairs, 128, shuffle=True, collate_fn=lambda part: part):
            images = torch.stack([augment(image) for image, _ in batch])
            labels = torch.stack([label for _, label in batch])
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    mine, peer = seconds(ours, loader)
    print(f"training resnet10, one epoch: {peer / mine:.2f} x the speed of a DataLoader with per-image transforms")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, median of {ROUNDS}")
    dataset = data.load("multiview", train_size=2000, test_size=200, probe_per_class=1)
    images = dataset.normalise(dataset.probe.images)
    for arch in ("resnet10", "resnet18"):
        bench_occlusion(arch, images, stride=2)
        bench_products(arch, dataset.normalise(dataset.train.images[:128]))
    bench_training(dataset)
