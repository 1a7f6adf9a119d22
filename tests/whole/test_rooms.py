"""The rooms of the package: what each of them shows, and that showing it loads nothing."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import kd_lib
from tests import conftest

PROJECT = Path(__file__).resolve().parents[2]
SURFACE = {
    "book": "Claim Edition Finding judge publish read_claims read_edition verdict write_pdf",
    "data": "CACHE Dataset NAMES SIZE Split Views draw load normalise stratified with_shuffled_labels",
    "figures": """
        COLOURS boxes by_choice colour_maps consensus cumulative_by_class cumulative_share doses heat_map
        image_grid intervals map_grid onsets response_curves roc settling side_by_side similarity_by_kl
        threshold_sweep training_curves
    """,
    "maps": "MapStore methods occluded_logits occlusion_map open_logits saliency_maps windows",
    "measures": """
        Interval PUBLISHED Threshold areas_under_curve arrivals cka compare cosine cosine_matrix
        first_crossing fit_threshold floors gain holm importance interval kl_divergence lasting_crossing
        leave_one_out pearson pointing roc_curves shares_above sign_flip_test spearman ssim to_ensemble
        transitions views_shown
    """,
    "networks": """
        Checkpoints Ensemble Regime TECHNIQUES accuracy build check_arch distillation_loss given pick_device
        predict train train_technique
    """,
    "people": """
        Annotations Labels alpha annotate_features annotate_pairs by_annotator default_features desk
        feature_agreement kappas labels majority write_tables
    """,
    "study": """
        Run Study gallery human images inheritance inherited lessons levels open parameters pipeline rq1 rq2 rq3
        sensitivity students teaching threshold training truth
    """,
}


def loaded_by(code):
    """Of the libraries that take long to load, those that are after some code in a new process."""
    slow = ("torch", "pandas", "altair", "matplotlib", "zarr", "distributed", "sphinx")
    code += f"\nimport sys; print(*({{*sys.modules}} & {{*{slow}}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_rooms_are_eight():
    assert set(kd_lib.__all__) == set(SURFACE)
    assert {path.parent.name for path in (PROJECT / "kd_lib").glob("*/__init__.py")} == set(kd_lib.__all__)


@pytest.mark.parametrize("room", SURFACE)
def test_a_room_shows_what_it_says(room):
    shown = importlib.import_module(f"kd_lib.{room}")
    assert set(shown.__all__) == set(SURFACE[room].split())
    assert all(hasattr(shown, name) for name in shown.__all__)
    assert set(dir(shown)) == set(shown.__all__)
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = shown.nothing_of_this_name


@pytest.mark.parametrize("room", SURFACE)
def test_no_function_hides_the_module_of_its_name(room):
    """``from kd_lib.maps import store`` is the module, whatever was used before."""
    shown = importlib.import_module(f"kd_lib.{room}")
    modules = {path.stem for path in Path(shown.__file__).parent.glob("[a-z]*.py")}
    for name in modules & set(shown.__all__):
        assert getattr(shown, name) is importlib.import_module(f"kd_lib.{room}.{name}")


def test_rooms_are_there_at_once():
    assert not loaded_by(f"from kd_lib import {', '.join(kd_lib.__all__)}")


def test_small_steps_of_make_load_no_network():
    assert not loaded_by("import kd_lib.study.parameters")
    assert not loaded_by("import kd_lib.book.__main__")


@pytest.mark.parametrize("notebook", sorted((PROJECT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_takes_few_names_of_the_package(notebook):
    imports = [node for node in ast.walk(ast.parse(notebook.read_text())) if isinstance(node, ast.ImportFrom)]
    taken = [name.name for node in imports if node.module.partition(".")[0] == "kd_lib" for name in node.names]
    assert 1 <= len(taken) <= 4


def test_stubs_say_what_is_loaded():
    """A name in `__all__` is imported in the stub, and the other way round."""
    for stub in (PROJECT / "kd_lib").rglob("__init__.pyi"):
        body = ast.parse(stub.read_text()).body
        imported = [name.name for node in body if isinstance(node, ast.ImportFrom) for name in node.names]
        (said,) = [ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)]
        assert sorted(imported) == sorted(said), stub


def test_long_modules_of_tests_are_there():
    assert not [name for name in conftest.LONG if not (conftest.TESTS / f"{name}.py").is_file()]
