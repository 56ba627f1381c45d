"""Which stored classifiers need a model."""

from sqlalchemy import func, select

from service.database import Database
from service.tables import ClassifierRow


async def count_pinned(database: Database, *, model: str) -> int:
    """How many classifiers were adapted with a model, those that have expired and are not swept yet among them."""
    query = select(func.count()).select_from(ClassifierRow).where(ClassifierRow.model == model)
    async with database.reading() as connection:
        return (await connection.execute(query)).scalar_one()
