import pytest

from tests import stores


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "occlusion.zarr"


@pytest.fixture
def filled(path):
    stores.create(path)
    assert stores.fill(path) == 9
    return path
