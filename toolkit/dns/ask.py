"""Many questions to one name server over one UDP socket or one TCP connection.

Enters: names and types. Leaves: parsed answers in the order asked, ``None`` where nothing came back.
Several questions are under way at once, so ten thousand take seconds, not minutes.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

from toolkit.wire import split_address

Question = tuple[str, str]  # name, type
WINDOW = 48
TIMEOUT = 3.0
TRIES = 4


def ask_all(server: str, questions: Sequence[Question], *, tcp: bool) -> Iterator[dns.message.Message | None]:
    """Ask every question; answers come window by window, in order."""
    for start in range(0, len(questions), WINDOW):
        part = questions[start : start + WINDOW]
        yield from _window(server, part, tcp=tcp)


def _window(server: str, part: Sequence[Question], *, tcp: bool) -> list[dns.message.Message | None]:
    answers: list[dns.message.Message | None] = [None] * len(part)
    waiting = dict(enumerate(part))
    failed = 0
    while waiting and failed < TRIES:
        try:
            got = _stream(server, waiting) if tcp else _datagrams(server, waiting, TIMEOUT * (failed + 1) / 2)
        except OSError:
            got = {}
        for number, message in got.items():
            answers[number] = message
            waiting.pop(number)
        # A server may answer one question per connection, or a few per second: that is slow, not dead.
        failed = 0 if got else failed + 1
        if not got:
            time.sleep(0.05 * failed)
    return answers


def _wire(number: int, question: Question) -> bytes:
    name, rdtype = question
    head = struct.pack("!HHHHHH", number, 0, 1, 0, 0, 1)
    owner: bytes = dns.name.from_text(name).to_wire() or b""
    body = owner + struct.pack("!HH", dns.rdatatype.from_text(rdtype), 1)
    # EDNS with a payload of 1232 bytes: what resolvers use, and what fits every path unfragmented.
    opt = b"\x00" + struct.pack("!HHIH", 41, 1232, 0, 0)
    return head + body + opt


def _parse(wire: bytes, waiting: dict[int, Question]) -> tuple[int, dns.message.Message] | None:
    try:
        message = dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=False)
    except dns.exception.DNSException:
        return None
    asked = waiting.get(message.id)
    if asked is None or len(message.question) != 1 or not message.flags & dns.flags.QR:
        return None
    question = message.question[0]
    if question.name != dns.name.from_text(asked[0]) or question.rdtype != dns.rdatatype.from_text(asked[1]):
        return None
    return message.id, message


def _datagrams(server: str, waiting: dict[int, Question], timeout: float) -> dict[int, dns.message.Message]:
    host, port = split_address(server)
    got: dict[int, dns.message.Message] = {}
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        for number, question in waiting.items():
            sock.send(_wire(number, question))
        end = time.monotonic() + timeout
        while len(got) < len(waiting) and (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                found = _parse(sock.recv(65535), waiting)
            except TimeoutError:
                break
            if found is not None:
                got[found[0]] = found[1]
    return got


def _stream(server: str, waiting: dict[int, Question]) -> dict[int, dns.message.Message]:
    host, port = split_address(server)
    got: dict[int, dns.message.Message] = {}
    with socket.create_connection((host, port), TIMEOUT) as sock, sock.makefile("rb") as reader:
        sock.settimeout(TIMEOUT * 2)
        wires = [_wire(number, question) for number, question in waiting.items()]
        sock.sendall(b"".join(struct.pack("!H", len(wire)) + wire for wire in wires))
        while len(got) < len(waiting):
            try:
                head = reader.read(2)
                wire = reader.read(struct.unpack("!H", head)[0]) if len(head) == 2 else b""
            except OSError:
                break
            if not wire:
                break
            found = _parse(wire, waiting)
            if found is not None:
                got[found[0]] = found[1]
    return got
