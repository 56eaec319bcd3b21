"""What a rehearsal shows of the verbs it types."""

from __future__ import annotations

from toolkit.rehearsal.rehearse import gist


def test_long_runs_of_like_lines_are_folded() -> None:
    output = "Plan of agora\n" + "".join(f"  + create dns/{n}\n" for n in range(9)) + "  > copy storage/a\nNext: go.\n"
    assert list(gist(output)) == [
        "Plan of agora",
        "  + create dns/0",
        "  + create dns/1",
        "  … 7 more",
        "  > copy storage/a",
        "Next: go.",
    ]


def test_numbered_and_unindented_lines_are_never_folded() -> None:
    checks = [f"  {n}. check ok" for n in range(1, 8)]
    assert list(gist("\n".join(checks))) == checks
    sentences = [f"Line {n}" for n in range(9)]
    assert list(gist("\n".join(sentences))) == sentences


def test_a_document_for_machines_is_not_shown() -> None:
    assert list(gist('{\n  "made": []\n}\n')) == []
