"""The files of a store but for its blocks: any of them, damaged, is named; what grows in them is no damage."""

import re

import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kd_lib import _files
from kd_lib.maps.group import COPY
from kd_lib.maps.store import MapStore, open_logits
from tests import stores

OWNED = {state: str(number) for number, state in enumerate(stores.STATES)}


def read(path):
    """All that is said of the blocks, by one who reads and by one who goes on."""
    kept = MapStore(path)
    seen = open_logits(path)
    told = [kept.states, kept.settings, kept.image_size, kept.class_names, kept.labels.tolist(), kept.index.tolist()]
    stores.create(path, weights=OWNED)
    return [*told, kept.missing(), seen.dims, seen.shape, *(seen[name].values.tolist() for name in sorted(seen.coords))]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(), how=st.sampled_from(["flipped", "cut", "emptied", "gone"]), place=st.floats(0, 1, exclude_max=True)
)
def test_a_damaged_file_beside_the_blocks_is_named_or_changes_nothing_and_is_mended(filled, data, how, place):
    stores.create(filled, weights=OWNED)
    expected, names = read(filled), [name for name in _files.names_in(filled) if not name.startswith("logits/c/")]
    name = data.draw(st.sampled_from(names))
    file = filled / name
    whole = file.read_bytes()
    at = int(place * len(whole))
    flipped = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    file.unlink() if how == "gone" else file.write_bytes({"flipped": flipped, "cut": whole[:at], "emptied": b""}[how])
    try:
        assert read(filled) == expected
    except ValueError as error:
        assert str(file) in str(error)  # noqa: PT017
        assert "run generate_saliency_maps, which mends it" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    stores.create(filled, weights=OWNED)
    assert file.read_bytes() == whole
    assert read(filled) == expected


def test_a_copy_brings_back_nothing_but_files_of_the_store(filled):
    copied = _files.read_sealed(filled / COPY, "")
    _files.write_json(filled / COPY, _files.sealed(copied | {"../../elsewhere": "aGk=", "logits/c/0/0/0/0": "aGk="}))
    block = (filled / "logits/c/0/0/0/0").read_bytes()
    stores.create(filled)
    assert not (filled / "../../elsewhere").exists()
    assert (filled / "logits/c/0/0/0/0").read_bytes() == block


@pytest.mark.parametrize("name", ["", "logits", "model", "epoch", "label", "index"])
def test_a_number_that_zarr_would_believe_is_not_believed(filled, name):
    node = zarr.open_group(filled)[name] if name else zarr.open_group(filled)
    node.attrs["patch"] = 4
    with pytest.raises(ValueError, match=re.escape(f"{filled / name / 'zarr.json'}: its content is not what was")):
        MapStore(filled)


def test_states_that_a_store_does_not_count_any_more_are_missed(filled):
    zarr.open_group(filled)["logits"].resize((2, 10, stores.WINDOWS, 3))
    _files.write_bytes(filled / "logits" / "c" / "2" / "0" / "0" / "0", b"a block that zarr would have deleted")
    with pytest.raises(ValueError, match=r"logits/zarr.json: there are blocks of more than 2 states"):
        MapStore(filled)


def test_a_store_without_digests_is_taken_as_it_is(filled):
    group = zarr.open_group(filled)
    for node in (group, *(array for _, array in group.arrays())):
        del node.attrs[_files.SEAL]
    assert MapStore(filled).states == stores.STATES
