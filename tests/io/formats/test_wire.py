"""Messages: every kind of field, and those that are none."""

import io
from pathlib import Path

import numpy as np
import pytest

from minincep.io.errors import WeightError
from minincep.io.formats import source as source_module
from minincep.io.formats.source import Source, Span
from minincep.io.formats.wire import BYTES, FIXED32, FIXED64, VARINT, fields, varint, varints
from tests.io.formats import messages


def span(content: bytes) -> Span:
    return Source(Path("net.pb"), io.BytesIO(content)).whole()


def test_fields_of_every_kind() -> None:
    content = b"".join(
        [
            messages.field(1, 300),
            messages.field(2, "text"),
            messages.fixed32(3, 7),
            messages.varint(4 << 3 | FIXED64) + bytes(8),
            messages.field(5, -1),
        ]
    )
    found = list(fields(span(content)))
    assert [(entry.number, entry.kind) for entry in found] == [
        (1, VARINT),
        (2, BYTES),
        (3, FIXED32),
        (4, FIXED64),
        (5, VARINT),
    ]
    assert found[0].integer() == 300
    assert found[1].text() == "text"
    assert found[2].fixed32() == 7
    assert found[4].integer() == -1


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, (1 << 63) - 1, (1 << 64) - 1])
def test_varint(number: int) -> None:
    assert varint(span(messages.varint(number)), 0) == (number, len(messages.varint(number)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",  # a number that goes on
        b"\xff" * 10,  # and on
        b"\xff" * 9 + b"\x02",  # 65 bits
        b"\x80" * 10 + b"\x00",
    ],
)
def test_numbers_without_end(content: bytes) -> None:
    with pytest.raises(WeightError, match=r"net\.pb: damaged at byte 0: a number without end"):
        varint(span(content), 0)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (messages.varint(1 << 3 | BYTES) + b"\x05four", "5 bytes should follow, where 4 are"),
        (messages.varint(1 << 3 | BYTES) + messages.varint((1 << 64) - 1), "bytes should follow"),
        (messages.varint(1 << 3 | FIXED32) + b"123", "4 bytes should follow"),
        (messages.varint(1 << 3 | FIXED64) + b"1234567", "8 bytes should follow"),
        (messages.varint(1 << 3 | 3), "no field"),  # a group, which nobody writes any more
        (messages.varint(1 << 3 | 7), "no field"),
        (messages.varint(0 << 3) + b"\0", "no field"),
        (messages.varint(1 << 33) + b"\0", "no field"),
    ],
)
def test_what_is_no_field(content: bytes, match: str) -> None:
    with pytest.raises(WeightError, match=match):
        list(fields(span(content)))


def test_a_field_of_another_kind() -> None:
    text, number = fields(span(messages.field(1, "abc") + messages.field(2, 5)))
    with pytest.raises(WeightError, match="field 1 of a message should be a number"):
        text.integer()
    with pytest.raises(WeightError, match="field 1 of a message should be a number of 4"):
        text.fixed32()
    with pytest.raises(WeightError, match="field 2 of a message should be a message or text"):
        number.text()
    with pytest.raises(WeightError, match="field 2 of a message should be numbers"):
        number.numbers(FIXED32)


def test_text_that_is_none() -> None:
    (wrong,) = fields(span(messages.field(1, b"\xff\xfe")))
    with pytest.raises(WeightError, match="there should be text"):
        wrong.text()
    (long,) = fields(span(messages.field(1, b"x" * 5000)))
    with pytest.raises(WeightError, match="5,000 bytes, where at most 4,096 make sense"):
        long.text()


def test_no_file_has_fields_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MOST_FIELDS", 10)
    content = messages.field(1, 1) * 6
    assert len(list(fields(span(content)))) == 6
    twice = span(content)
    with pytest.raises(WeightError, match="more fields than any model has"):
        [entry for _ in range(2) for entry in fields(twice)]


def test_messages_end_where_the_one_around_them_does() -> None:
    inner = messages.varint(1 << 3 | BYTES) + b"\x03"  # what should follow is outside
    outer, _ = fields(span(messages.field(1, inner) + messages.field(2, "abc")))
    with pytest.raises(WeightError, match="3 bytes should follow, where 0 are"):
        list(fields(outer.message()))


def test_lists_of_numbers() -> None:
    random = np.random.default_rng(0)
    numbers = random.integers(0, 1 << 63, 30_000, dtype=np.uint64)
    numbers >>= random.integers(0, 63, numbers.size, dtype=np.uint64)
    packed = b"".join(messages.varint(number) for number in numbers.tolist())
    pieces = list(varints(span(packed)))
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces), numbers)
    assert list(varints(span(b""))) == []


@pytest.mark.parametrize("content", [b"\x01\x80", b"\x80" * 11 + b"\x01", b"\x80" * 100_000])
def test_lists_one_of_whose_numbers_has_no_end(content: bytes) -> None:
    with pytest.raises(WeightError, match="one of which has no end"):
        list(varints(span(content)))
