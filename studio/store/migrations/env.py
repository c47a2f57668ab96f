"""What Alembic runs. The connection, its transaction and its lock are those of ``Database.migrate``."""

from alembic import context

from studio.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
