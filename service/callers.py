"""Who asks, and what they may do."""

import re
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_TENANT = "default"
"""Owns what is made without a key, and what was made before there were any."""


class Scope(StrEnum):
    """What a key is for; none contains another: a key that reads metrics need not read classifiers."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        tenant: whose classifiers it sees; to others they do not exist.
        scopes: what it may do.
        key_id: of the key it showed; None where none is needed.
        requests_per_minute: it may send; None for the service's own limit.
        max_classifiers: its tenant may have; None for the service's own limit.
    """

    tenant: str = DEFAULT_TENANT
    scopes: frozenset[Scope] = frozenset(Scope)
    key_id: str | None = None
    requests_per_minute: int | None = None
    max_classifiers: int | None = None


_PUBLIC = re.compile(r"/(livez|readyz|version|docs(/assets/.*)?|page/.*|redoc|openapi\.json|favicon\.ico)?")
_ADMIN = re.compile(r"/metrics|/v1/admin/.*")
_ASKING = re.compile(r"/v1/classify(/upload)?|/v1/classifiers/[^/]+/(classify|evaluate)(/upload|/archive)?")


def needed_scope(method: str, path: str) -> Scope | None:
    """What a caller must be allowed for a request, also where the path is a template; None where anybody may."""
    reads = method.upper() in ("GET", "HEAD")
    if _PUBLIC.fullmatch(path) and reads:
        return None
    if _ADMIN.fullmatch(path):
        return Scope.ADMIN
    # Asking stores nothing, though it is a POST.
    return Scope.READ if reads or (method.upper() == "POST" and _ASKING.fullmatch(path)) else Scope.WRITE
