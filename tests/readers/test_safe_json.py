"""JSON from an untrusted file."""

import time

import pytest

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.readers.safe_json import MAX_DEPTH, loads


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"units": 4, "units": 8}', "config: the key 'units' occurs twice"),
        ('{"units": NaN}', "holds NaN"),
        ('{"units": -Infinity}', "holds -Infinity"),
        ('{"units": 1e999}', "out of range"),
        ('{"units": %s}' % ("9" * 5000), "an integer of 5000 digits"),
        ('{"units": 4', "is not JSON"),
        ('{"units": "\x01"}', "is not JSON"),
        (b'{"\xff": 1}', "is not UTF-8 text: invalid start byte at byte 2"),
        ("\ud800", "is not UTF-8 text"),
        ("", "is not JSON"),
    ],
)
def test_refuses(text, message):
    with pytest.raises(ReadError, match=message) as caught:
        loads(text, "config")
    assert not isinstance(caught.value, UnsafeFile)


def test_depth_is_checked_before_the_parser_recurses():
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert loads(deep, "config")
    for text in (f"[{deep}]", "[" * 1_000_000, '{"a":' * 100_000):
        with pytest.raises(UnsafeFile, match="nested more than 200 deep"):
            loads(text, "config")


def test_brackets_in_texts_do_not_count_and_take_no_time():
    start = time.perf_counter()
    assert loads('["%s\\"["]' % ("[" * 1000), "config") == ["[" * 1000 + '"[']
    with pytest.raises(ReadError, match="is not JSON"):
        loads('"' + '\\"' * 1_000_000, "config")
    assert time.perf_counter() - start < 60  # hours, were each quote tried as the start of a text


def test_size_is_limited():
    with pytest.raises(UnsafeFile, match="bytes of JSON; the limit"):
        loads(b" " * ((64 << 20) + 1), "config")
