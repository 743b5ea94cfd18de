"""Alembic migrations of the outcome database."""
