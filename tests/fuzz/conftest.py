"""What every fuzz run shares: the seed, the share of the time, the ways to spoil bytes."""

import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from ioe_node.errors import LocalError, PeerError

FUZZ_SECONDS = float(os.environ.get("IOE_FUZZ_SECONDS", "5"))
"""For all targets together."""
CASE_SECONDS_MAX = 5.0
"""No few kilobytes may keep a decoder busy for longer, on however slow a machine."""
BYTES_MAX = 16 * 1024
INTERESTING_BYTES = bytes([0, 1, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE1), 255])
INTERESTING_LENGTHS = (0, 1, 31, 32, 255, 256, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
NESTINGS = (b"\x91", b"\x81\xa1a", b"\x81\x91", b"\xdd\x00\x00\x00\x01", b"[", b'{"a":')

Spoil = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def flip(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def overwrite(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.choice(INTERESTING_BYTES)]) + data[at + 1 :]


def lie_about_a_length(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    length = rng.choice(INTERESTING_LENGTHS) % (1 << 8 * size)
    at = rng.randrange(len(data) + 1)
    return data[:at] + length.to_bytes(size, "big") + data[at + size :]


def truncate(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def cut_out(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:start] + data[end:]


def repeat(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:end] + data[start:]


def insert_noise(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def splice(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def nest(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(NESTINGS) * rng.choice((2, 40, 2_000)) + data[at:]


def from_noise(rng: random.Random, _data: bytes, _others: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.randrange(200))


SPOILS: tuple[Spoil, ...] = (
    *(flip, overwrite, lie_about_a_length, truncate, cut_out) * 3,
    *(repeat, insert_noise, splice) * 2,
    nest,
    from_noise,
)


def spoiled(rng: random.Random, samples: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    data = rng.choice(samples)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if tokens and rng.random() < 0.3:
            start = rng.randrange(len(data) + 1)
            data = data[:start] + rng.choice(tokens) + data[start + rng.randrange(8) :]
        else:
            spoil: Spoil = rng.choice(SPOILS)
            data = spoil(rng, data, samples)
    return data[:BYTES_MAX]


@pytest.fixture(scope="session")
def fuzz_seed() -> int:
    """`IOE_FUZZ_SEED`, or another one in each run."""
    return int(os.environ.get("IOE_FUZZ_SEED") or random.SystemRandom().getrandbits(32))


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, fuzz_seed: int) -> Callable[..., None]:
    """`fuzz(samples, decode, ...)` spoils samples for this test's share of the time.

    Every sample must be accepted as it is.  Whatever else comes, only `PeerError`, `LocalError`
    and `may_raise` may leave `decode`; that, an assertion in it that fails, or a case that takes
    too long is reported with the seed and the bytes.
    """
    sharers = sum("fuzz" in getattr(item, "fixturenames", ()) for item in request.session.items)
    rng = random.Random(f"{fuzz_seed}:{request.node.name}")

    def run(
        samples: Sequence[bytes],
        decode: Callable[[bytes], object],
        *,
        tokens: Sequence[bytes] = (),
        may_raise: tuple[type[Exception], ...] = (),
    ) -> None:
        for sample in samples:
            decode(sample)
        accepted: tuple[type[Exception], ...] = (PeerError, LocalError, *may_raise)
        started = time.monotonic()
        end = started + FUZZ_SECONDS / sharers
        cases = 0
        while (now := time.monotonic()) < end or cases < 100:
            data = spoiled(rng, samples, tokens)
            cases += 1
            where = f"IOE_FUZZ_SEED={fuzz_seed} case {cases}: {data.hex()}"
            try:
                decode(data)
            except accepted:
                pass
            except BaseException as escaped:
                raise AssertionError(f"{type(escaped).__name__} escaped; {where}") from escaped
            assert time.monotonic() - now < CASE_SECONDS_MAX, f"too slow; {where}"
        print(f"IOE_FUZZ_SEED={fuzz_seed}: {cases} cases in {time.monotonic() - started:.1f} s")

    return run
