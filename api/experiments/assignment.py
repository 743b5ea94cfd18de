"""Which variant a request is for."""

import secrets
from dataclasses import dataclass

from api.errors import InvalidParameter
from api.experiments.buckets import BUCKETS, bucket_of
from api.experiments.config import Experiment, Variant

FORCE_HEADER = "X-Variant"


@dataclass(frozen=True, slots=True)
class Assignment:
    experiment: Experiment
    variant: Variant
    # The client named the variant.
    forced: bool
    # As the client sent it.
    subject: str | None


def assign(experiment: Experiment, subject: str | None, forced: str | None) -> Assignment:
    """The variant for one request.

    Args:
        subject: who asks; None draws a bucket for this request alone.
        forced: the name of a variant to give instead.

    Raises:
        InvalidParameter: there is no variant of that name.
    """
    if forced is not None:
        variant = experiment.find(forced)
        if variant is None:
            names = ", ".join(experiment.variant_names)
            raise InvalidParameter({FORCE_HEADER: f"experiment {experiment.name!r} has the variants {names}"})
        return Assignment(experiment, variant, True, subject)
    bucket = bucket_of(experiment.salt, subject) if subject is not None else secrets.randbelow(BUCKETS)
    return Assignment(experiment, experiment.variant_of(bucket), False, subject)
