"""Parity: what is compared, and servers that are slow in their own way."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import pytest

from toolkit.dns import ask, parity
from toolkit.dns.model import RRSet, plain

ZONE = "parity.example"
WANTED = plain(f"www.{ZONE}", "A", 60, ["192.0.2.1", "192.0.2.2"])


def answer(*lines: str, section: str = "answer", flags: int = dns.flags.AA, rcode: int = 0) -> dns.message.Message:
    made = dns.message.make_response(dns.message.make_query(WANTED.name, "A"))
    made.flags |= flags
    made.set_rcode(rcode)  # type: ignore[arg-type]
    made.sections[dns.message.MessageSection[section.upper()]] = [
        dns.rrset.from_text(*line.split(None, 4)[:2], "IN", line.split(None, 4)[2], *line.split()[3:]) for line in lines
    ]
    return made


@pytest.mark.parametrize(
    ("got", "kind"),
    [
        (answer(f"www.{ZONE}. 60 A 192.0.2.2 192.0.2.1"), None),
        (answer(f"WWW.{ZONE}. 60 A 192.0.2.2 192.0.2.1"), None),
        (answer(f"www.{ZONE}. 61 A 192.0.2.2 192.0.2.1"), "different"),
        (answer(f"www.{ZONE}. 60 A 192.0.2.1"), "different"),
        (answer(f"www.{ZONE}. 60 A 192.0.2.1 192.0.2.2 192.0.2.3"), "different"),
        (answer(f"www.{ZONE}. 60 A 192.0.2.2 192.0.2.1", flags=0), "different"),
        (answer(), "missing"),
        (answer(rcode=3), "missing"),
        (answer(rcode=2), "missing"),
        (answer(flags=dns.flags.AA | dns.flags.TC), "different"),
        (None, "unreachable"),
    ],
)
def test_judgement(got: dns.message.Message | None, kind: str | None) -> None:
    found = parity.judge(WANTED, got, None)
    assert (found[0] if found else None) == kind


def test_a_truncated_answer_over_udp_is_what_tcp_is_for() -> None:
    assert parity.judge(WANTED, answer(flags=dns.flags.AA | dns.flags.TC), None, tcp=False) is None


def test_below_a_delegation() -> None:
    cut = f"sub.{ZONE}."
    servers = RRSet(cut, "NS", 60, ("ns.sub.parity.example.",))
    good = answer(f"{cut} 60 NS ns.sub.parity.example.", section="authority", flags=0)
    assert parity.judge(servers, good, cut) is None
    assert parity.judge(servers, answer(flags=0), cut) == ("missing", "no delegation")
    hidden = RRSet(f"hidden.{cut}", "TXT", 60, ('"x"',))
    assert parity.judge(hidden, good, cut) is None, "served by nobody, compared with nothing"


@pytest.fixture
def one_per_connection() -> Iterator[str]:
    """A name server that answers one question per TCP connection, then hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                size = struct.unpack("!H", connection.recv(2))[0]
                query = dns.message.from_wire(connection.recv(size))
                made = dns.message.make_response(query).to_wire()
                connection.sendall(struct.pack("!H", len(made)) + made)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def test_a_server_that_answers_one_question_at_a_time(one_per_connection: str) -> None:
    questions = [(f"n{number}.{ZONE}", "A") for number in range(12)]
    found = list(ask.ask_all(one_per_connection, questions, tcp=True))
    assert [str(message.question[0].name) for message in found if message] == [f"n{n}.{ZONE}." for n in range(12)]


def test_a_server_that_lies_about_the_question_is_not_believed() -> None:
    wire = ask._wire(7, (f"www.{ZONE}", "A"))
    other = dns.message.make_response(dns.message.from_wire(wire))
    other.question[0].name = dns.name.from_text("www.other.example")
    assert ask._parse(other.to_wire(), {7: (f"www.{ZONE}", "A")}) is None
    assert ask._parse(wire, {7: (f"www.{ZONE}", "A")}) is None, "a question is no answer"
    assert ask._parse(b"rubbish", {7: (f"www.{ZONE}", "A")}) is None


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "TIMEOUT", 0.1)
    for tcp in (False, True):
        assert list(ask.ask_all("127.0.0.1:9", [(f"www.{ZONE}", "A")], tcp=tcp)) == [None]
