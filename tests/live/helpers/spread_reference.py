"""What the spread program may do to a packet, said a second time, and packets to try it on.

Written from the standards (802.1Q, RFC 791, 768, 8200, 1071), not from the program: sums are
remainders of big numbers by 65535, not folded words.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

PORTS = (4000, 65535)
TAGS = (0x8100, 0x88A8)


class Fate(Enum):
    REWRITTEN = "rewritten"
    PASSED = "passed"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Expected:
    """What must become of a packet; of a rewritten one, where its datagram lies."""

    fate: Fate
    udp: int = 0
    pseudo: int = 0  # modulo 65535
    length: int = 0


def expect(packet: bytes, ports: Collection[int] = PORTS) -> Expected:
    """Read a packet as the standards say."""
    at, ethertype = 14, int.from_bytes(packet[12:14], "big")
    for _ in range(2):
        if ethertype in TAGS:
            if len(packet) < at + 4:
                return Expected(Fate.MALFORMED)
            ethertype = int.from_bytes(packet[at + 2 : at + 4], "big")
            at += 4
    if ethertype == 0x0800:
        return _expect_ipv4(packet, at, ports)
    if ethertype == 0x86DD:
        return _expect_ipv6(packet, at, ports)
    return Expected(Fate.PASSED)


def _expect_ipv4(packet: bytes, at: int, ports: Collection[int]) -> Expected:
    if len(packet) - at < 20:
        return Expected(Fate.MALFORMED)
    header, total = (packet[at] & 15) * 4, int.from_bytes(packet[at + 2 : at + 4], "big")
    if packet[at] >> 4 != 4 or header < 20 or not header <= total <= len(packet) - at:
        return Expected(Fate.MALFORMED)
    more_or_offset = int.from_bytes(packet[at + 6 : at + 8], "big") & 0x3FFF
    if packet[at + 9] != 17 or more_or_offset:
        return Expected(Fate.PASSED)
    datagram = packet[at + header : at + total]
    return _expect_udp(datagram, at + header, packet[at + 12 : at + 20], ports, needs_sum=False)


def _expect_ipv6(packet: bytes, at: int, ports: Collection[int]) -> Expected:
    if len(packet) - at < 40:
        return Expected(Fate.MALFORMED)
    payload = int.from_bytes(packet[at + 4 : at + 6], "big")
    if packet[at] >> 4 != 6 or payload > len(packet) - at - 40:
        return Expected(Fate.MALFORMED)
    if packet[at + 6] != 17:
        return Expected(Fate.PASSED)
    datagram = packet[at + 40 : at + 40 + payload]
    return _expect_udp(datagram, at + 40, packet[at + 8 : at + 40], ports, needs_sum=True)


def _expect_udp(
    datagram: bytes, at: int, addresses: bytes, ports: Collection[int], *, needs_sum: bool
) -> Expected:
    if len(datagram) < 8:
        return Expected(Fate.MALFORMED)
    _source, destination, length, checksum = struct.unpack_from(">4H", datagram)
    if destination not in ports:
        return Expected(Fate.PASSED)
    if not 8 <= length <= len(datagram) or (needs_sum and not checksum):
        return Expected(Fate.MALFORMED)
    pseudo = pseudo_sum(addresses, length)
    if checksum == pseudo and (pseudo + total(datagram[:length])) % 65535 == 0:
        return Expected(Fate.PASSED)  # complete or not: nobody can tell
    return Expected(Fate.REWRITTEN, at, pseudo, length)


def total(data: bytes) -> int:
    """The sum of 16-bit words: 65536 is 1 modulo 65535."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 65535


def pseudo_sum(addresses: bytes, length: int) -> int:
    """The sum of a pseudo header, 1 to 65535."""
    return (total(addresses) + 17 + length) % 65535 or 65535


def check(before: bytes, after: bytes) -> Fate:
    """See that a packet became what it must; gives its fate."""
    expected = expect(before)
    if expected.fate is not Fate.REWRITTEN:
        assert after == before
        return expected.fate
    udp, end = expected.udp, expected.udp + expected.length
    assert after[:udp] == before[:udp]
    assert after[udp + 2 : udp + 6] == before[udp + 2 : udp + 6]
    assert after[udp + 8 :] == before[udp + 8 :]
    assert 1024 <= int.from_bytes(after[udp : udp + 2], "big") <= 65535
    was, now = (int.from_bytes(one[udp + 6 : udp + 8], "big") for one in (before, after))
    if was in {0, expected.pseudo}:
        assert now == was  # none, or not yet
        return expected.fate
    assert now != 0  # that would be none
    # As right, or as wrong, as it was; not just "right again".
    assert total(after[udp:end]) == total(before[udp:end])
    return expected.fate


def checksum(pseudo: int, datagram: bytes) -> int:
    """The complete checksum of a datagram whose field is 0."""
    return (-(pseudo + total(datagram))) % 65535 or 65535


def packet(random: Random, longest: int = 1400) -> bytes:
    """A packet that is to be rewritten, or nearly: most are spoilt in one place or another."""
    chance = random.random
    payload = random.randbytes(random.choice((0, 1, 2, 9, random.randint(0, longest))))
    family = random.choice((4, 4, 6))
    addresses = random.randbytes(8 if family == 4 else 32)
    to = random.choice(PORTS) if chance() < 0.8 else random.randint(0, 65535)
    length = 8 + len(payload)
    claimed = length if chance() < 0.8 else random.choice((0, 7, 8, length - 1, length + 1, 65535))
    head = struct.pack(">3H", random.randint(0, 65535), to, max(0, claimed))
    pseudo = pseudo_sum(addresses, max(0, claimed))
    match random.choice(("right", "right", "wrong", "none", "not yet", "both", "all ones")):
        case "right":
            field = checksum(pseudo, head + b"\0\0" + payload)
        case "wrong":
            field = random.randint(1, 65535)
        case "none":
            field = 0
        case "not yet":
            field = pseudo
        case "both":
            # Two bytes of the payload that make the complete checksum the pseudo header's sum.
            payload = b"\0\0" + payload[2:]
            field = pseudo
            needed = checksum(pseudo, head + field.to_bytes(2, "big") + payload)
            payload = needed.to_bytes(2, "big") + payload[2:]
        case _:
            field = 65535
    udp = head + field.to_bytes(2, "big") + payload
    made = _link_header(random, family) + _ip_header(random, family, addresses, len(udp)) + udp
    if chance() < 0.2:
        made += random.randbytes(random.randint(1, 40))  # Ethernet pads short frames
    if chance() < 0.2:
        made = made[: random.randint(14, len(made))]
    if chance() < 0.2:
        where = random.randrange(12, min(len(made), 100))
        made = made[:where] + random.randbytes(1) + made[where + 1 :]
    return made


def _link_header(random: Random, family: int) -> bytes:
    ethertype = {4: 0x0800, 6: 0x86DD}[family] if random.random() < 0.95 else 0x0806
    tags = random.choice((0, 0, 0, 1, 1, 2, 2, 3))
    tagged = b"".join(
        struct.pack(">HH", random.choice(TAGS), random.getrandbits(16)) for _ in range(tags)
    )
    return random.randbytes(12) + tagged + struct.pack(">H", ethertype)


def _ip_header(random: Random, family: int, addresses: bytes, length: int) -> bytes:
    protocol = 17 if random.random() < 0.95 else random.choice((0, 6, 44, 60))
    error = 0 if random.random() < 0.9 else random.choice((-9, -1, 1, 20))
    if family == 6:
        size = max(0, length + error)
        return (
            struct.pack(">IHBB", 6 << 28 | random.getrandbits(28), size, protocol, 64) + addresses
        )
    options = random.choice((0, 0, 0, 1, 5, 10))
    words = 5 + options if random.random() < 0.95 else random.randint(0, 15)
    fragment = random.choice((0, 0, 0, 0, 0x4000, 0x8000, 0x2000, 0x0001, 0x2005))
    size = max(0, 20 + 4 * options + length + error)
    head = struct.pack(
        ">BBHHHBBH", 4 << 4 | words, 0, size, random.getrandbits(16), fragment, 64, protocol, 0
    )
    return head + addresses + random.randbytes(4 * options)


def good(family: int) -> bytes:
    """A small frame to a chosen port, with a complete checksum."""
    addresses = bytes(range(1, 9 if family == 4 else 33))
    head = bytes.fromhex("11110fa00009")
    udp = head + checksum(pseudo_sum(addresses, 9), head + b"\0\0!").to_bytes(2, "big") + b"!"
    if family == 4:
        return bytes(12) + bytes.fromhex("08004500001d00004000ff110000") + addresses + udp
    return bytes(12) + bytes.fromhex("86dd6000000000091140") + addresses + udp
