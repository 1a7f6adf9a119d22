import csv
import io

import hypothesis
import pytest
from hypothesis import strategies as st

from kd_lib.people.tables import SEPARATORS, check_unique, coded, read_header, read_table, whole_numbers

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
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r"),
        '"image";"model";"body"\r\n"7";a;1\r\n8;"b";0\r\n',
    ],
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
        ("image|model|body\n7|a|1\n", r"missing columns image, model, body; found image\|model\|body"),
        ("image;model;body\n7,a,1\n", "line 2: 'model' is empty"),
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


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1)
rows = st.lists(st.tuples(words, words, words), min_size=1)


def as_csv(table, separator, ends="\n"):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator=ends).writerows(table)
    return buffer.getvalue()


@hypothesis.given(rows, rows, st.sampled_from(SEPARATORS), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_any_words_come_back_by_any_separator(tmp_path_factory, names, table, separator, ends, mark):
    names = tuple(dict.fromkeys(names[0]))  # of features, which may have any name
    table = [row[: len(names)] for row in table]
    hypothesis.assume(names[0][0] != "\ufeff" and len(names) > 1)
    hypothesis.assume(
        not set("".join(names)) & (set(SEPARATORS) - {separator})
    )  # which of them separates must be clear
    path = tmp_path_factory.getbasetemp() / "words.csv"
    path.write_bytes(("\ufeff" * mark + as_csv([names, *table], separator, ends)).encode())
    assert read_header(path) == names
    assert read_table(path, names).values.tolist() == [list(row) for row in table]


@hypothesis.given(
    st.lists(st.tuples(*[st.sampled_from("ab1")] * 3), min_size=1), st.sampled_from(SEPARATORS), st.data()
)
def test_a_quotation_mark_that_is_not_closed_names_its_line(tmp_path_factory, table, separator, data):
    path, table = tmp_path_factory.getbasetemp() / "quote.csv", [list(COLUMNS), *map(list, table)]
    line, column = data.draw(st.tuples(st.integers(1, len(table) - 1), st.integers(0, 2)))
    lines = [
        separator.join('"' * ((i, k) == (line, column)) + c for k, c in enumerate(row)) for i, row in enumerate(table)
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"line {line + 1}: a quotation mark is not closed.*close or remove it"):
        read_table(path, COLUMNS)


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
