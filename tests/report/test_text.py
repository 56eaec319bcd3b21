"""Words and figures for people."""

from __future__ import annotations

import pytest

from toolkit.report.text import between, duration, figure, moment, number, scale, size, visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("Zoë 東京 שלום", "Zoë 東京 שלום"),
        ("a\tb\nc\r", "a\\tb\\nc\\r"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b", "\\x9b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
        (7, 7),
        (None, None),
    ],
)
def test_visible(raw: object, shown: object) -> None:
    assert visible(raw) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1.0 PiB")])
def test_size(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "40 ms"), (1.25, "1.2 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (104_400, "1 d 5 h")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_figures_take_their_unit_from_their_name() -> None:
    assert figure("copied_bytes", 2048) == "2.0 KiB"
    assert figure("freeze_seconds", 6.25) == "6.2 s"
    assert figure("objects", 1234567) == "1,234,567"
    assert figure("objects_per_second", 812.4) == "812.4"
    assert figure("ok", True) == "True"


def test_scales_and_numbers() -> None:
    assert scale(1 / 14400) == "1/14,400"
    assert scale(1) == "1"
    assert number(12.5) == "12.5"


def test_times() -> None:
    assert moment("2026-03-01T12:00:00.123+02:00") == "2026-03-01 10:00:00 UTC"
    assert moment("soon") == "soon"
    assert between("2026-03-01T10:00:00+00:00", "2026-03-01T10:00:05+00:00") == 5
    assert between("", "2026-03-01T10:00:05+00:00") is None
    assert between("2026-03-01T10:00:00", "2026-03-01T10:00:05+00:00") is None
