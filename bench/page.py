"""The page of the book that tells what `make bench` measured."""

from collections.abc import Iterable, Mapping

from bench import occlusion
from bench.training import BATCH, EPOCHS, WORKERS
from kd_lib.book.verdicts import table

DEVICES = {"cpu": "On the processor", "cuda": "On the GPU"}


def render(figures: Mapping) -> str:
    """Write the page from the content of `speed.json`."""
    parts = [
        "# How fast it is",
        "Made by `make bench`. What is compared ran in turn in one process, and a time is the median of several. Times "
        "are a machine's; the ratios are what to look at.",
    ]
    for device, title in DEVICES.items():
        if device in figures:
            parts += [f"## {title}", *_device(figures[device], device)]
    return "\n\n".join(parts) + "\n"


def _device(found: Mapping, device: str) -> Iterable[str]:
    made, title = found["made by"], DEVICES[device]
    hardware, versions = made["hardware"], made["versions"]
    machine = hardware["gpu"] if device == "cuda" else f"{hardware['cpu']}, {made['threads']} threads"
    peers = ", ".join(f"{name} {version}" for name, version in found["peers"].items())
    yield (
        f"{machine}; Python {versions['python']}, torch {versions['torch']}, {peers}; medians of {found['rounds']}; "
        f"{made['created'][:10]}, commit {(made['commit'] or 'unknown')[:10]}."
    )
    yield (
        f"Maps of {occlusion.IMAGES[device]} images of 32 x 32 pixels for 10 classes, explained with one trained "
        f"{occlusion.ARCH}: patch {occlusion.PATCH}, stride {occlusion.STRIDE}. All ways in float32 but for *auto*, "
        f"which is {found['share of peak'][1]['in']} here. Of a library that explains one class at a time a single "
        f"call was timed and counted for every class; Quantus and Xplique, where they were installed, explained "
        f"{occlusion.FEW} images in a process of their own, beside the engine, Xplique with its own weighting of "
        "overlapping windows."
    )
    yield table(
        ["", "maps a second", "slower than float32", "slower than auto"],
        (
            [
                row["way"],
                f"{row['maps a second']:,.0f}" if row["maps a second"] >= 10 else f"{row['maps a second']:.2g}",
                f"{row['times slower than float32']:.2f} x",
                f"{row['times slower than auto']:.2f} x",
            ]
            for row in found["occlusion"]
        ),
        f"{title}: maps a second.",
    )
    yield (
        "The engine is ahead for two reasons. It does less: what a patch cannot reach is taken from the clean image, "
        "and products with padding are left out. And it does the rest at a higher share of what the hardware can do; "
        "the peak is the fastest product of two square matrices that was found here."
    )
    yield table(
        ["", "multiply-adds an occluded image, nominal", "done", "occluded images a second", "share of peak"],
        (
            [
                f"{row['precision']} ({row['in']})",
                f"{row['nominal multiply-adds'] / 1e6:.1f} M",
                f"{row['done'] / 1e6:.1f} M",
                f"{row['occluded images a second']:,.0f}",
                f"{row['share of peak']:.0%} of {row['peak'] / 1e9:,.0f} G/s",
            ]
            for row in found["share of peak"]
        ),
        f"{title}: share of the peak.",
    )
    growth = [[name, f"{ratio:.2f} x the time"] for name, ratio in found["growth"].items()]
    if "two workers" in found:
        growth.append(["two workers of one thread instead of one", f"{found['two workers']:.2f} x the speed"])
    for row in found.get("memory", []):
        states = f"{row['states']} state{'s' * (row['states'] > 1)}"
        what = f"most memory above the interpreter and torch, {row['images']:,} images, {states}"
        growth.append([what, f"{row['MB above torch']:,.0f} MB"])
    yield "How the cost grows:"
    yield table(["", ""], growth, f"{title}: how the cost grows.")
    yield (
        f"The trainer, {EPOCHS[device]} epoch{'s' * (EPOCHS[device] > 1)} with test and checkpoints, beside one of a "
        f"`DataLoader` loop with transforms of PIL images and {WORKERS} workers that only trains; batches of "
        f"{BATCH[device]}, mirrored and cropped:"
    )
    yield table(
        ["network", "trainer, float32", "trainer, bfloat16", "DataLoader loop", "ratio of the best"],
        (
            [
                row["network"],
                *(f"{row[way]:,.0f} images/s" for way in ("float32", "bfloat16", "loader")),
                f"{row['ratio']:.2f}",
            ]
            for row in found["training"]
        ),
        f"{title}: the trainer beside a loop.",
    )
