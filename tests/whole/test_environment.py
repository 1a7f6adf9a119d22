"""The files that say what must be installed agree with each other and name no host."""

import re
import tomllib
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "universal_pathlib": "universal-pathlib",
    "playwright-python": "playwright",
    "lazy_loader": "lazy-loader",
}


def requirements():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] + project["optional-dependencies"]["test"]


def test_conda_environment_equals_pyproject():
    listed = yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]
    from_pip = next(p["pip"] for p in listed if isinstance(p, dict))
    from_conda = [p for p in listed if isinstance(p, str) and p.split(">")[0] not in {"python", "make", "pip"}]
    packages = from_conda + from_pip
    renamed = [re.sub(r"^[\w-]+", lambda m: CONDA_NAMES.get(m[0], m[0]), p) for p in packages]
    assert renamed == requirements()


def test_constraints_pin_every_dependency_with_hashes_and_name_no_host():
    text = (PROJECT / "constraints.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.M))
    assert "://" not in text
    assert not [r for r in requirements() if re.match(r"[\w-]+", r)[0].lower() not in pinned]
    for block in re.split(r"\n(?=[\w.-]+==)", text):
        assert "--hash=sha256:" in block, block.splitlines()[0]
