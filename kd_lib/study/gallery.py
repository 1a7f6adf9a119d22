"""Maps to look at: what `generate_saliency_maps` shows of the size of the patch, and of other methods."""

import numpy as np

from kd_lib.maps import attributions
from kd_lib.study.reading import Study

Row = tuple[str, np.ndarray, list[np.ndarray]]  # for `figures.map_grid`: a label, an image, its maps


def patches(here: Study, image: int, *, device: str = "auto") -> tuple[list[Row], list[str]]:
    """Explain a probe image for its class with patches of up to four sizes, by three networks; with their names."""
    probe, target = here.dataset.probe, int(here.labels[image])
    side = min(probe.images.shape[-2:])
    step = max(1, side // 32)
    sizes = [step * size for size in (1, 2, 4, 8) if step * size <= side]
    pixels = here.dataset.normalise(probe.images[image : image + 1])
    rows = []
    for name in here.networks[:3]:
        net = here.network(name, device=device)
        maps = [attributions.occlusion_map(net, pixels, target, patch=size, stride=step) for size in sizes]
        rows.append((name, probe.images[image], maps))
    return rows, [f"{size} × {size}" for size in sizes]


def methods(here: Study, *, device: str = "auto") -> tuple[list[Row], list[str]]:
    """Explain an image of each of four classes by one network and the methods that can; with names of the methods."""
    probe, net = here.dataset.probe, here.network(here.networks[0], device=device)
    windows = {name: here.store.settings[name] for name in ("patch", "stride")}
    pictures, found = [], []
    for k in range(min(4, len(here.class_names))):
        image = int((probe.labels == k).nonzero()[0])
        found.append(attributions.methods(net, here.dataset.normalise(probe.images[image : image + 1]), k, **windows))
        pictures.append((here.class_names[k], probe.images[image]))
    names = [name for name in found[0] if all(name in maps for maps in found)]
    return [(*row, [maps[name] for name in names]) for row, maps in zip(pictures, found, strict=True)], names
