"""How many classifiers a tenant may have."""

from service.callers import Caller
from service.dependencies import Services
from service.errors import QuotaExceeded


async def check_quota(services: Services, caller: Caller) -> None:
    """Refuse one more, before any work is done for it; those that are being made at the time are not counted.

    Raises:
        QuotaExceeded: there are as many as the key, or else the limit, allows.
    """
    most = caller.max_classifiers or services.settings.limits.classifiers
    if most is None:
        return
    count = await services.store.count(tenant=caller.tenant)
    if count >= most:
        raise QuotaExceeded(
            f"there are {count} classifiers, and at most {most} are kept; delete some, or use ttl_seconds",
            retry_after_seconds=60,
        )
