"""Which variant a subject gets: pure functions, so that replicas agree without talking to each other.

    subject -> bucket    bucket_of(): SHA-256 of salt and subject, modulo 10,000
    bucket  -> variant   allocate(): one table per experiment

Shares are exact, and a change of weights moves few subjects: docs/experiments.md says why.
"""

import hashlib
import math
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

    Raises:
        ValueError: the weights add up to nothing, or to more than a number holds.
    """
    total = sum(weights)
    if math.isinf(total):
        raise ValueError("the weights add up to more than a number can hold")
    if total <= 0:
        raise ValueError("the weights add up to nothing")
    exact = [weight / total * BUCKETS for weight in weights]
    counts = [int(count) for count in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: BUCKETS - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def allocate(names: tuple[str, ...], weights: tuple[float, ...], control: str) -> tuple[str, ...]:
    """The owner of each bucket.

    Every variant but the control claims buckets in an order of its own, and the control keeps what nobody claims. The
    table, with an order of preference per owner, is that of Maglev (Eisenbud et al., NSDI 2016, section 3.4).

    Args:
        names: of the variants, in the order of the file.
        weights: one for each.
        control: one of the names.
    """
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
