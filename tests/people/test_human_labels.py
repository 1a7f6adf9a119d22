import pytest

from kd_lib.people.human_labels import read_counts

IMAGES = ["test/cat/0000", "test/cat/0001", "test/dog/0000"]
GOOD = "path,dog,cat\ntest/dog/0000.jpg,50,1\ntest/cat/0001.png,0,9\ntest/cat/0007.jpg,1,1\n"


def read(tmp_path, text, images=IMAGES):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read_counts(path, ["cat", "dog"], images)


def test_counts_come_in_the_order_of_images_and_classes(tmp_path):
    assert read(tmp_path, GOOD).tolist() == [[0, 0], [9, 0], [1, 50]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path,", "file,", "missing columns path; found file, dog, cat"),
        (",cat\n", ",kitten\n", "missing columns cat; found path, dog, kitten"),
        ("0,9", "-1,9", "line 3: dog is '-1'; expected a whole number >= 0"),
        ("0,9", "0,0.9", "line 3: cat is '0.9'; expected a whole number >= 0"),
        ("0,9", "0,0", "line 3: all counts are 0; expected at least one"),
        ("0,9", "0,", "line 3: 'cat' is empty"),
        ("cat/0001.png", "dog/0000.png", "line 3: duplicate of line 2 (path test/dog/0000)"),
        ("test/", "", "no path is that of a test image; 'dog/0000' is the first, expected such as 'test/cat/0000'"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=r"labels\.csv") as error:
        read(tmp_path, GOOD.replace(old, new))
    assert message in str(error.value)


def test_images_that_only_their_suffix_tells_apart_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'test/cat/0000' is the path of two images"):
        read(tmp_path, GOOD, [*IMAGES, IMAGES[0]])
