"""Every setting of the service, read from `KSHOT_*` environment variables, here and nowhere else."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.cores import cores

_SECRETS_DIR = Path("/run/secrets")
"""Where containers are given secrets, each a file; one named as a setting is that setting."""


def _split(value: Any) -> Any:
    return [part.strip().lower() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several, joined by commas in the environment."""


def _models_dir() -> Path:
    """`./models` where there is one, else the models that stand beside the source."""
    beside = Path(__file__).parents[1] / "models"
    return beside if beside.is_dir() and not Path("models").is_dir() else Path("models")


class Limits(BaseModel):
    """What a request may cost at most; all in `GET /version`."""

    body_bytes: int = Field(default=64 * 2**20, ge=1024, description="a request's body, counted while it streams in")
    files: int = Field(default=1000, ge=1, description="pictures in a request: files of a form or entries of a zip")
    file_bytes: int = Field(default=16 * 2**20, ge=1, description="one picture, encoded")
    pixels: int = Field(default=50_000_000, ge=1, description="one picture's width × height, from its header")
    archive_bytes: int = Field(default=256 * 2**20, ge=1, description="all pictures of a zip, unpacked")
    ways: int = Field(default=200, ge=2, description="labels of a classifier")
    examples: int = Field(default=2000, ge=2, description="examples of a classifier")
    adapt_pictures_steps: int = Field(
        default=10_000, ge=1, description="examples × inner steps, where a model adapts its whole network"
    )
    metadata_bytes: int = Field(default=16_384, ge=2, description="a classifier's metadata as JSON")
    idempotency_keys: int = Field(default=10_000, ge=1, description="remembered of one tenant; the oldest go first")
    classifiers: int | None = Field(default=None, ge=1, description="of a tenant, unless its key says otherwise")
    requests_per_minute: int | None = Field(default=None, ge=1, description="of a key, unless it says otherwise")
    waiting_pictures: int = Field(
        default=8000, ge=1, description="pictures of all requests at once; past it requests are answered 503"
    )
    waiting_seconds: float = Field(
        default=2.0, gt=0, description="that a creation would wait behind others; past it requests are answered 503"
    )
    classify_waiting_seconds: float = Field(
        default=0.3, gt=0, description="the same of a stored classifier's call: who is told at once may ask again soon"
    )
    request_seconds: float = Field(default=60.0, gt=0, description="a request's work is dropped after so long")
    body_seconds: float = Field(default=120.0, gt=0, description="a request's body must have come after so long")


class Fleet(BaseModel):
    """The replicas of `kshot serve --engine ray`."""

    address: str | None = Field(
        default=None, description="of a running Ray, or `auto` for this machine's; one of its own where unset"
    )
    replicas: int = Field(default=2, ge=1, description="at least")
    most_replicas: int | None = Field(
        default=None, ge=1, description="at most, when requests queue; none are added if unset"
    )
    requests_per_replica: float = Field(
        default=8.0, gt=0, description="in flight on the average; past it replicas are added, below it taken away"
    )
    cpus: float = Field(
        default=1.0, ge=0, description="cores of a replica, and its threads where KSHOT_THREADS is unset"
    )
    gpus: float = Field(default=0.0, ge=0, description="GPUs of a replica; with 0.5 two of them share one")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most_replicas is not None and self.most_replicas < self.replicas:
            raise ValueError(f"most_replicas is {self.most_replicas}, replicas {self.replicas}; expected no fewer")
        return self


class Settings(BaseSettings):
    """The service's configuration; `KSHOT_LIMITS__BODY_BYTES=1000000` sets a limit.

    What the environment does not say may stand in a file, `/run/secrets/kshot_database_url`.
    """

    model_config = SettingsConfigDict(
        env_prefix="KSHOT_",
        env_nested_delimiter="__",
        extra="ignore",
        secrets_dir=_SECRETS_DIR if os.access(_SECRETS_DIR, os.R_OK | os.X_OK) else None,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    auth: Literal["auto", "keys", "off"] = Field(
        default="auto",
        description="keys: each request shows one; off: whoever reaches the service may do all; auto: keys where the "
        "address is not loopback, or once a key has been made",
    )
    first_key_file: Path | None = Field(
        default=None, description="made at the start where there is no key yet: the first one, for its owner alone"
    )
    allowed_hosts: Names = Field(default=(), description="names it is asked by, * for any; its own where unset")
    allowed_origins: Names = Field(default=(), description="of web pages of other sites that may call it")
    metrics_port: int | None = Field(default=None, ge=0, le=65535, description="/metrics there, and not on `port`")
    metrics_host: str = "127.0.0.1"
    log_format: Literal["auto", "json", "text"] = Field(default="auto", description="text on a terminal, else json")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    models_dir: Path = Field(default_factory=_models_dir)
    data_dir: Path = Path("data")
    database_url: SecretStr | None = Field(
        default=None, description="postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE; SQLite in the data folder if unset"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    default_model: str | None = Field(default=None, description="photos, else the first by name, where unset")
    threads: int = Field(
        default_factory=cores, ge=1, description="of decoding, and of encoding and adapting on the CPU"
    )
    keep_images: bool = Field(default=False, description="store the examples of models that encode nothing")
    idempotency_seconds: int = Field(default=24 * 3600, ge=1, description="how long an Idempotency-Key is remembered")
    sweep_seconds: float = Field(default=60.0, gt=0, description="between two removals of what has expired")
    encoded_cache_bytes: int = Field(default=128 * 2**20, ge=0, description="of encoded pictures kept in memory")
    state_cache_bytes: int = Field(default=256 * 2**20, ge=0, description="of adapted states kept in memory")
    drain_seconds: int = Field(default=20, ge=0, description="how long requests in flight may still take at shutdown")
    drain_notice_seconds: int = Field(
        default=0, ge=0, description="of those, how long new requests are taken while /readyz says 503 already"
    )
    fleet: Fleet = Fleet()
    limits: Limits = Limits()
    request_seconds: float | None = Field(default=None, gt=0, description="short for the limit of that name")

    @classmethod
    def given(cls, **values: Any) -> Self:
        """Those of the environment, but for the values that are not None: a command's options.

        Raises:
            ValidationError: one cannot be.
        """
        return cls(**{name: value for name, value in values.items() if value is not None})

    @model_validator(mode="after")
    def _short(self) -> Self:
        if self.request_seconds is not None:
            self.limits = self.limits.model_copy(update={"request_seconds": self.request_seconds})
        return self
