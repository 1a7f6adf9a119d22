"""The files that say what must be installed agree with each other and name no host; Make says what there is."""

import os
import re
import subprocess
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


def test_make_alone_says_what_there_is_and_does_nothing():
    makefile = (PROJECT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.M)[1].split()
    own = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    said = subprocess.run(["make"], cwd=PROJECT, env=own, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\w+) +\S", said, flags=re.M)) == set(phony) - {"alone", "incomplete", "parameters"}
    variables = re.findall(r"^([A-Z]+) +\?=", makefile, flags=re.M)
    assert not [name for name in variables if name != "PYTHON" and f"  {name}=" not in said]


def test_commits_are_checked_by_the_commands_of_make_test():
    (local,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    recipe = (PROJECT / "Makefile").read_text().partition("\ntest:")[2].splitlines()
    assert not [hook["entry"] for hook in local["hooks"] if "\t" + hook["entry"] not in recipe]
