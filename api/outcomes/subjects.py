"""Subjects are stored as keyed hashes alone, and forgotten when somebody asks for it."""

from api.outcomes.writer import OutcomeWriter


async def erase(outcomes: OutcomeWriter, subject: str) -> int:
    """Delete all predictions of a subject with the faces and feedback that belong to them; returns how many they were.

    Those that wait in this gateway's buffer are written first. Those of other gateways' buffers are not seen.

    Raises:
        OutcomesUnavailable: the database fails.
        DATABASE_ERRORS: one of them, likewise.
    """
    hashed = outcomes.hash(subject)
    await outcomes.subject_written(hashed)
    return await outcomes.store.erase(hashed)
