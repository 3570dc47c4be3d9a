"""Text as it is shown and written: nothing in it takes over a terminal or a spreadsheet."""

import csv
import io
import json
import math
import unicodedata
from pathlib import Path

import pytest

from minincep.io.text import printable, table, to_json

NOT_JSON = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("odd", ["\x1b", "\n", "\r", "\t", "\x7f", "\x9b", "\u202e", "\u2028"])
def test_what_could_take_over_a_terminal(odd: str) -> None:
    assert printable(f"a{odd}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_letters_stay_and_spaces_are_spaces() -> None:
    text = "Küken 鶏卵 \U0001f95a בֵּיצָה"
    assert printable(text) == text
    assert printable("9.21\u202fAM.png") == "9.21 AM.png"
    assert printable("caf\udce9") == "caf\N{REPLACEMENT CHARACTER}"


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("first", "=+-@\t\r\n＝＋－＠")
def test_no_cell_is_a_formula(first: str) -> None:
    """As OWASP has it; a path begins with ./ then, so that it still leads to the file."""
    text = f"{first}cmd|'/C calc'!A0"
    assert read(table([[text, Path(text), f"a{text}", Path("a", text)]])) == [
        [f"'{text}", f"./{text}", f"a{text}", f"a/{text}"]
    ]


def test_what_a_formula_looks_like_depends_on_no_normal_form() -> None:
    """The wide signs are those that become the others when a text is normalised."""
    assert unicodedata.normalize("NFKC", "＝＋－＠") == "=+-@"


def test_numbers_and_other_cells_stay() -> None:
    rows: list[list[object]] = [["is", -1, 0.5, "'=a"], ['a,"b"\nc', "1;2", "", "x=y"]]
    assert table(rows) == 'is,-1,0.5,\'=a\n"a,""b""\nc",1;2,,x=y\n'


@pytest.mark.parametrize("odd", NOT_JSON)
def test_numbers_that_json_has_not_are_null(odd: float) -> None:
    text = to_json({"a": [1.5, odd, {"b": (odd, True, None, "NaN")}], "c": odd})
    assert text == '{"a": [1.5, null, {"b": [null, true, null, "NaN"]}], "c": null}'


def test_json_is_in_one_line_of_ascii() -> None:
    assert to_json({"image": "a\x1b\né\udce9"}) == json.dumps({"image": "a\x1b\né\udce9"})
    assert to_json("a\x1b\né\udce9").isascii()
