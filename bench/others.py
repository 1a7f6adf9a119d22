"""Print the rates of other libraries as JSON: python -m bench.others FOLDER DEVICE."""

import sys
from pathlib import Path

import torch

from bench import occlusion

if __name__ == "__main__":
    folder, device = sys.argv[1:]
    print(occlusion.rate_others(Path(folder), torch.device(device)).to_json(orient="records"))
