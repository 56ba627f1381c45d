"""Run by Alembic: migrations go through the connection, and in the transaction, that the service opened."""

from alembic import context

from service.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
