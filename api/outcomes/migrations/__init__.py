"""Alembic migrations of the outcome database.

env       Alembic's entry point
versions  one module per revision
"""
