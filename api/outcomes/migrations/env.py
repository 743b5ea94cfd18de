"""Alembic's entry point: it works on the connection, and in the transaction, of api.outcomes.migrate."""

from alembic import context

from api.outcomes.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
