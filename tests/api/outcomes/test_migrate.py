import asyncio

from sqlalchemy import create_engine, inspect

from api.addresses import parse_url
from api.outcomes import tables
from api.outcomes.database import open_sync_engine
from api.outcomes.migrate import migrate


def test_many_replicas_migrate_at_once(database_url: str) -> None:
    url = parse_url(database_url)

    async def run() -> None:
        await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(5)))

    asyncio.run(run())
    migrate(url)


def test_migrations_make_the_tables_of_the_code(database_url: str) -> None:
    url = parse_url(database_url)
    migrate(url)
    migrated = open_sync_engine(url)
    direct = create_engine("sqlite://") if url.get_backend_name() == "sqlite" else None

    def shape(engine: object, schema: str | None = None) -> dict:
        found = inspect(engine)
        return {
            name: (
                {(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name, schema)},
                found.get_pk_constraint(name, schema)["constrained_columns"],
                {(i["name"], tuple(i["column_names"])) for i in found.get_indexes(name, schema)},
                {
                    (tuple(k["constrained_columns"]), k["referred_table"], k["options"].get("ondelete"))
                    for k in found.get_foreign_keys(name, schema)
                },
            )
            for name in tables.metadata.tables
        }

    if direct is not None:
        tables.metadata.create_all(direct)
        expected = shape(direct)
        direct.dispose()
    else:
        with migrated.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA direct")
            tables.metadata.create_all(connection.execution_options(schema_translate_map={None: "direct"}))
        expected = shape(migrated, "direct")
    assert shape(migrated) == expected
    migrated.dispose()
