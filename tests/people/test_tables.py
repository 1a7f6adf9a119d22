import pytest

from kd_lib.people.tables import check_unique, coded, read_table, whole_numbers

COLUMNS = ("image", "model", "body")


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


PLAIN = "image,model,body\n7,a,1\n8,b,0\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.rstrip("\n"),
        " image , model,body\n 7,a ,1\n8,b,0\n",
        '"image","model","body"\n"7","a","1"\n8,b,0\n',
        "image,model,body,,\n7,a,1,,\n8,b,0,,\n",
    ],
    ids=["plain", "byte-order mark", "Windows", "no last line end", "blanks", "quotes", "blank columns"],
)
def test_what_spreadsheets_write(written, content):
    table = read_table(written(content), COLUMNS)
    assert table.values.tolist() == [["7", "a", "1"], ["8", "b", "0"]]
    assert list(table) == list(COLUMNS)
    assert table.index.tolist() == [2, 3]


def test_order_of_columns_is_free_and_blank_rows_count_as_lines(written):
    table = read_table(written("body,image,model\n\n1,7,a\n,,\n0,8,b\n"), COLUMNS)
    assert table.values.tolist() == [["7", "a", "1"], ["8", "b", "0"]]
    assert table.index.tolist() == [3, 5]


def test_words_like_nan_are_text(written):
    assert read_table(written("image,model,body\n7,NA,1\n"), COLUMNS).model.tolist() == ["NA"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n,,\n", "empty"),
        ("image,model,body\n", "no rows"),
        ("image,model\n7,a\n", "line 1: missing columns body; found image, model"),
        ("image;model;body\n7;a;1\n", "missing columns image, model, body; found image;model;body"),
        ("image,model,body,wings\n7,a,1,0\n", "line 1: unknown columns wings; expected only image, model, body"),
        ("image,model,body,body\n7,a,1,0\n", "column body appears 2 times"),
        ("image,model,body\n7,a,1\n8,,0\n", "line 3: 'model' is empty"),
        ("image,model,body\n7,a,1\n8,b\n", "line 3: 'body' is empty"),
        ("image,model,body\n7,a,1,1\n", "line 2: 4 cells for 3 columns"),
        ("image,model,body\n7,é,1\n".encode("cp1252"), "not UTF-8"),
        (PLAIN.encode("utf-16"), "not UTF-8"),
    ],
)
def test_refuses_and_says_where(written, content, message):
    path = written(content)
    with pytest.raises(ValueError, match=message) as error:
        read_table(path, COLUMNS)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv: no such file; expected a CSV with the columns image"):
        read_table(tmp_path / "none.csv", COLUMNS)


def test_whole_numbers(written):
    path = written(PLAIN)
    assert whole_numbers(read_table(path, COLUMNS), "image", path).tolist() == [7, 8]


@pytest.mark.parametrize("cell", ["1.5", "-3", "cat.png", "7 8", "٣", "9" * 30])
def test_not_a_whole_number(written, cell):
    path = written(f"image,model,body\n7,a,1\n{cell},b,0\n")
    with pytest.raises(ValueError, match=r"line 3: image is .*expected a whole number >= 0"):
        whole_numbers(read_table(path, COLUMNS), "image", path)


def test_codes(written):
    codes = {"1": True, "0": False, "true": True}
    path = written("image,model,body\n7,a,TRUE\n8,b,0\n")
    assert coded(read_table(path, COLUMNS), "body", codes, path).tolist() == [True, False]
    path = written("image,model,body\n7,a,1\n8,b,x\n")
    with pytest.raises(ValueError, match="line 3: body is 'x'; expected 1 or 0 or true"):
        coded(read_table(path, COLUMNS), "body", codes, path)


def test_duplicates_name_both_lines(written):
    path = written("image,model,body\n7,a,1\n8,a,1\n\n7,a,0\n")
    table = read_table(path, COLUMNS)
    check_unique(table, path)
    with pytest.raises(ValueError, match=r"line 5: duplicate of line 2 \(image 7, model a\)"):
        check_unique(table[["image", "model"]], path)
