"""Write and read small ISO 9660 images with Joliet names: the NoCloud seed of a guest.

Enters: a volume label and a flat mapping of file names to bytes. Leaves: image bytes, the same for the
same input (no clock in them), so that a seed has a digest. Raises :class:`Refused` for an image that is
not one of ours. Flat, short names only: that is all a seed needs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from toolkit.errors import Refused

SECTOR = 2048
_EPOCH = bytes([121, 1, 1, 0, 0, 0, 0])  # 2021-01-01: any fixed moment does
_LONG_EPOCH = b"2021010100000000\0"


def build(label: str, files: Mapping[str, bytes]) -> bytes:
    """Return an image that holds ``files`` in its root folder, in plain and in Joliet names."""
    names = sorted(files)
    plain = [_plain(name, index) for index, name in enumerate(names)]
    joliet = [name.encode("utf-16-be") for name in names]
    # 16 PVD, 17 SVD, 18 terminator, 19/20 path tables (plain), 21/22 path tables (Joliet), 23 root, 24 root (Joliet)
    at, places = 25, []
    for name in names:
        places.append(at)
        at += max(1, -(-len(files[name]) // SECTOR))
    sizes = [len(files[name]) for name in names]
    sectors = [
        _descriptor(1, label, at, tables=(19, 20), root=23),
        _descriptor(2, label, at, tables=(21, 22), root=24),
        _pad(b"\xffCD001\x01"),
        *(_path_table(root, little) for root in (23, 24) for little in (True, False)),
        _directory(23, plain, places, sizes),
        _directory(24, joliet, places, sizes),
    ]
    for name in names:
        data = files[name]
        sectors.append(data + b"\0" * (max(1, -(-len(data) // SECTOR)) * SECTOR - len(data)))
    return b"\0" * (16 * SECTOR) + b"".join(sectors)


def read(image: bytes) -> dict[str, bytes]:
    """Return the files of an image made by :func:`build`.

    Raises:
        Refused: it is no such image, or it was cut.
    """
    supplementary = image[17 * SECTOR : 18 * SECTOR]
    if supplementary[:7] != b"\x02CD001\x01":
        raise Refused("the seed is not an image that we wrote", "define the server again")
    try:
        return _entries(image, supplementary)
    except (struct.error, IndexError, UnicodeDecodeError) as exc:
        raise Refused("the seed image is damaged", "define the server again") from exc


def _entries(image: bytes, descriptor: bytes) -> dict[str, bytes]:
    root, size = struct.unpack_from("<I4xI", descriptor, 156 + 2)
    folder = image[root * SECTOR : root * SECTOR + size]
    found, at = {}, 0
    while at < len(folder) and folder[at]:
        length = folder[at]
        place, count = struct.unpack_from("<I4xI", folder, at + 2)
        name = folder[at + 33 : at + 33 + folder[at + 32]]
        if len(name) > 1:
            data = image[place * SECTOR : place * SECTOR + count]
            if len(data) != count:
                raise IndexError("cut")
            found[name.decode("utf-16-be")] = data
        at += length
    return found


def _plain(name: str, index: int) -> bytes:
    """Return a strict 8.3 name; readers with Joliet never show it, so it only has to be unique."""
    stem = "".join(c for c in name.upper() if c.isascii() and c.isalnum())[:6]
    return f"{stem}{index:02d}.;1".encode("ascii")


def _both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (SECTOR - len(data))


def _record(name: bytes, place: int, size: int, *, folder: bool) -> bytes:
    record = (
        b"\0"
        + _both(place)
        + _both(size)
        + _EPOCH
        + bytes([2 if folder else 0, 0, 0])
        + _both16(1)
        + bytes([len(name)])
        + name
    )
    record += b"\0" * (1 - len(name) % 2)
    length = len(record) + 1
    return bytes([length]) + record + b"\0" * (length % 2)


def _directory(at: int, names: list[bytes], places: list[int], sizes: list[int]) -> bytes:
    records = [_record(b"\0", at, SECTOR, folder=True), _record(b"\1", at, SECTOR, folder=True)]
    entries = sorted(zip(names, places, sizes, strict=True))
    records += [_record(name, place, size, folder=False) for name, place, size in entries]
    whole = b"".join(records)
    if len(whole) > SECTOR:
        raise Refused("too many files for one seed", "a seed holds a handful of files")
    return _pad(whole)


def _path_table(root: int, little: bool) -> bytes:
    order = "<" if little else ">"
    return _pad(bytes([1, 0]) + struct.pack(f"{order}IH", root, 1) + b"\0\0")


def _descriptor(kind: int, label: str, sectors: int, *, tables: tuple[int, int], root: int) -> bytes:
    def text(value: str, width: int) -> bytes:
        if kind == 1:
            return value.encode("ascii").ljust(width, b" ")
        return value.encode("utf-16-be").ljust(width - width % 2, b"\0").ljust(width, b"\0")[:width]

    escape = b"%/E".ljust(32, b"\0") if kind == 2 else b"\0" * 32
    blank = text("", 128)
    return _pad(
        bytes([kind])
        + b"CD001\x01\0"
        + text("LINUX", 32)
        + text(label, 32)
        + b"\0" * 8
        + _both(sectors)
        + escape
        + _both16(1)
        + _both16(1)
        + _both16(SECTOR)
        + _both(10)
        + struct.pack("<II", tables[0], 0)
        + struct.pack(">II", tables[1], 0)
        + _record(b"\0", root, SECTOR, folder=True)
        + blank * 4
        + text("", 37) * 3
        + _LONG_EPOCH * 2
        + b"0" * 16
        + b"\0"
        + _LONG_EPOCH
        + b"\x01\0"
    )
