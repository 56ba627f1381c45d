"""Who asks."""

from dataclasses import dataclass

DEFAULT_TENANT = "default"
"""Owns what is made without a key, and what was made before there were any."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        tenant: whose classifiers it sees; to others they do not exist.
    """

    tenant: str = DEFAULT_TENANT
