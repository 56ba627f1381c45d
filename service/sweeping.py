"""What has expired is removed now and then; it is hidden from the moment on at which it expires."""

import asyncio
import logging

from service.store import Store

logger = logging.getLogger(__name__)


async def sweep_on(store: Store, *, every_seconds: float) -> None:
    """Remove expired classifiers and answers, again and again, until cancelled."""
    while True:
        try:
            removed = await store.sweep()
            await store.receipts.sweep()
            if removed:
                logger.info("removed %d expired classifiers", removed)
        except Exception:  # the database may be back the next time
            logger.exception("what has expired could not be removed")
        await asyncio.sleep(every_seconds)
