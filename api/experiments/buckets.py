"""Which variant a subject gets: pure functions, so that replicas agree without talking to each other.

    subject -> bucket    bucket_of(): SHA-256 of salt and subject, modulo 10,000
    bucket  -> variant   allocate(): one table per experiment

Shares are exact: a variant with a tenth of the weight owns 1,000 buckets, so that the observed counts may be tested
against the weights. A change of weights moves few subjects:

- Two variants: as few as possible, and in one direction. From 90/10 to 80/20 the control hands over 1,000 buckets.
- More: every variant but the control claims buckets in an order of its own, and the control keeps what nobody claims.
  One that grows may claim buckets of those after it in the file, which then claim others; the last one moves none but
  its own.

No function of the weights alone does better in every case. It would have to give each variant a set of buckets that
depends on its own weight alone and grows with it; but of three variants the second and the third must then each own
the same buckets, those that the first gives up, once the other has none.

The table of buckets, with an order of preference per owner, is that of Maglev (Eisenbud et al., "Maglev: A Fast and
Reliable Software Network Load Balancer", NSDI 2016, section 3.4). Weighted rendezvous hashing (Schindelhauer and
Schomaker, SPAA 2005) moves about as few, but its shares are random: over 10,000 buckets a tenth is off by 0.003, which
a test of the sample ratio finds after some hundred thousand requests.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

BUCKETS = 10_000


def bucket_of(salt: str, subject: str) -> int:
    """The bucket of a subject, 0 to 9,999: SHA-256 of `salt:subject` (UTF-8) as a big-endian number, modulo 10,000."""
    # What is no text, as a header may be, still needs a bucket.
    content = f"{salt}:{subject}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest(), "big") % BUCKETS


def shares(weights: Sequence[float]) -> tuple[int, ...]:
    """How many of the 10,000 buckets each weight is worth, by the method of the largest remainder; they add up.

    Raises ValueError for weights that add up to nothing.
    """
    total = sum(weights)
    if total <= 0:
        raise ValueError("the weights add up to nothing")
    exact = [weight / total * BUCKETS for weight in weights]
    counts = [int(count) for count in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: BUCKETS - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


@lru_cache(maxsize=128)
def allocate(names: tuple[str, ...], weights: tuple[float, ...], control: str) -> tuple[str, ...]:
    """The owner of each bucket. names and weights: one per variant, in the order of the file; control: one of names."""
    owners = [control] * BUCKETS
    free = set(range(BUCKETS))
    for name, count in zip(names, shares(weights), strict=True):
        if name == control:
            continue
        for bucket in [bucket for bucket in _preference(name) if bucket in free][:count]:
            owners[bucket] = name
            free.remove(bucket)
    return tuple(owners)


@lru_cache(maxsize=64)
def _preference(name: str) -> tuple[int, ...]:
    """Every bucket once, in an order that depends on the name alone."""

    def rank(bucket: int) -> bytes:
        return hashlib.sha256(f"{name}:{bucket}".encode()).digest()

    return tuple(sorted(range(BUCKETS), key=rank))
