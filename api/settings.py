"""Settings of the gateway, read from EMOTION_* environment variables and nowhere else.

A value that is out of range, contradicts another one or cannot work is refused at start-up.
"""

import json
import os
import re
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from api.addresses import parse_url
from faces.detect import SIDE_MAX, STANDARD_SIDE
from wire.address import check_target

MAX_FACE = 25_000_000
"""Pixels that no `min_face` is beyond: no photo that is accepted has a face so wide."""

_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")

Names = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Every knob of the gateway. Lists are given as JSON (`["a", "b"]`) or separated by commas (`a,b`)."""

    model_config = SettingsConfigDict(env_prefix="EMOTION_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535, description="0 takes a free port")
    keep_alive_s: int = Field(
        default=75,
        ge=1,
        le=3600,
        description="idle connections are closed after that; longer than the load balancer in front keeps its own",
    )
    head_timeout_s: float = Field(
        default=10, gt=0, le=300, description="time a client has to send the header fields of a request"
    )
    max_connections: int = Field(
        default=4096, ge=1, le=65_000, description="connections at a time; the limit of descriptors is raised for them"
    )
    drain_s: float = Field(
        default=0, ge=0, le=300, description="after SIGTERM, /readyz says no for that long before the port is closed"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_json: bool = Field(default=False, description="one JSON object per log line")

    model_server: str = Field(
        default="localhost:8500",
        min_length=1,
        description="gRPC target; of several: dns:///serving:8500 or ipv4:10.0.0.1:8500,10.0.0.2:8500",
    )
    model_server_tls: bool = False
    model_server_ca: FilePath | None = Field(default=None, description="PEM file; the system's certificates when unset")
    model_server_cert: FilePath | None = Field(
        default=None, description="PEM file of the certificate that the gateway shows to it, for mTLS"
    )
    model_server_key: FilePath | None = Field(default=None, description="PEM file of that certificate's key")
    model_server_proxy: bool = Field(
        default=False, description="reach it through what http_proxy, https_proxy or grpc_proxy name"
    )
    model_timeout_s: float = Field(default=5, gt=0, le=300, description="deadline of one call to the model server")

    models: Names = Field(default=("random", "residual", "ensemble"), description="the models that clients may name")
    default_model: str = "random"
    default_label: str | None = Field(
        default="stable", description="asked for when a request names no model, version or label; empty: the newest"
    )
    labels: Names = Field(default=("stable", "canary"), description="labels that GET /models looks up")

    request_timeout_s: float = Field(default=10, gt=0, le=600, description="from the whole body read to the answer")
    upload_timeout_s: float = Field(default=30, gt=0, le=600, description="time a client has to send its body")
    upload_min_rate: int = Field(
        default=16 * 2**10, ge=1, description="bytes a second that a body must make on average after its first 5 s"
    )
    body_memory_bytes: int = Field(
        default=256 * 2**20, ge=2**20, description="bodies held at a time, read or being read, before new ones get 503"
    )
    max_image_bytes: int = Field(default=10 * 2**20, ge=1024)
    max_image_pixels: int = Field(default=25_000_000, ge=48 * 48)
    max_batch_files: int = Field(default=16, ge=1, le=256)
    max_batch_bytes: int = Field(default=32 * 2**20, ge=1024)

    max_faces: int = Field(default=50, ge=1, le=1000, description="faces per image at most; also the default")
    min_face: int | None = Field(
        default=None, ge=1, le=MAX_FACE, description="default smallest face, in pixels of the original image"
    )
    detector: Literal["auto", "yunet", "mtcnn", "haar"] = Field(
        default="auto", description="what finds faces; auto: YuNet where its file is, else MTCNN"
    )
    yunet_model: Path | None = Field(default=None, description="YuNet's ONNX file")
    yunet_sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="digest of another file of YuNet's than the published one"
    )
    detect_side: int = Field(
        default=STANDARD_SIDE, ge=64, le=4096, description="faces are looked for at this longest side, pixels"
    )
    detect_side_max: int = Field(
        default=SIDE_MAX, ge=64, le=4096, description="the same where a small min_face asks for more"
    )

    cpu_workers: int = Field(default=os.cpu_count() or 1, ge=1, le=256, description="threads that decode and detect")
    queue_s: float = Field(
        default=0.4,
        ge=0,
        le=60,
        description="seconds that an image may wait for thread and model server, by estimate, before new ones get 503",
    )

    max_streams: int | None = Field(
        default=None, ge=0, le=10_000, description="camera streams at a time; 8 for each of the CPU workers when unset"
    )
    stream_fps: float = Field(default=30, ge=0.1, le=240, description="frames a second that a stream may send")
    stream_frame_bytes: int = Field(default=2**20, ge=1024, description="bytes of a frame")
    stream_idle_s: float = Field(default=30, gt=0, le=3600, description="a stream without a frame is closed after that")
    stream_life_s: float = Field(default=3600, gt=0, le=86_400, description="a stream is closed after that")

    admin_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="a key of scope admin; without it and a file of keys operators' endpoints are closed",
    )
    keys_file: FilePath | None = Field(
        default=None, description="callers' keys (python -m api.keys); without it whoever reaches the port may predict"
    )
    keys_poll_s: float = Field(default=1, gt=0, le=3600, description="how often the file is looked at")
    cors_origins: Names = Field(
        default=(), description="origins whose pages may call the API, such as https://app.example; * for all"
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535, description="/metrics is served there alone; 0: any free port"
    )

    experiments: FilePath | None = Field(default=None, description="experiments.yaml; no experiments when unset")
    experiments_poll_s: float = Field(default=1, gt=0, le=3600, description="how often the file is looked at")
    breaker_failures: int = Field(default=5, ge=1, description="failures in a row after which a variant is left alone")
    breaker_open_s: float = Field(default=10, gt=0, le=3600, description="how long, before one request tries it again")
    shadow_concurrency: int = Field(default=2, ge=1, le=64, description="calls to shadow targets at a time")
    shadow_queue: int = Field(default=1000, ge=1, description="faces that may wait for a shadow; 9 KiB each")

    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///.run/outcomes.db"), description="where outcomes are kept; or postgresql://..."
    )
    record: Literal["experiments", "all"] = Field(
        default="experiments", description="which predictions are kept for feedback: those assigned a variant, or all"
    )
    subject_secret: SecretStr | None = Field(
        default=None, min_length=16, description="key of the hash of subjects; a random one per process when unset"
    )
    retention_days: int = Field(default=90, ge=1, le=3650, description="outcomes are deleted after that")
    outcome_buffer: int = Field(
        default=50_000, ge=1000, description="rows (predictions and faces) that may wait to be written"
    )
    outcome_flush_s: float = Field(default=1, gt=0, le=60, description="a prediction is written after that time")

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any) -> Any:
        if isinstance(value, str) and _LINK_VALUE.match(value):
            raise ValueError("is Kubernetes' link to a Service named emotion; the pod needs enableServiceLinks: false")
        return value

    @field_validator("model_server")
    @classmethod
    def _target(cls, value: str) -> str:
        check_target(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        parse_url(value.get_secret_value())
        return value

    @field_validator("models", "labels", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_names(value) if isinstance(value, str) else value

    @field_validator("default_label", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return value or None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.default_model not in self.models:
            raise ValueError(
                f"EMOTION_DEFAULT_MODEL {self.default_model!r} is not in EMOTION_MODELS {list(self.models)}"
            )
        for file, name in ((self.model_server_ca, "CA"), (self.model_server_cert, "CERT")):
            if file and not self.model_server_tls:
                raise ValueError(f"EMOTION_MODEL_SERVER_{name} is set but EMOTION_MODEL_SERVER_TLS is off")
        if (self.model_server_cert is None) != (self.model_server_key is None):
            raise ValueError("EMOTION_MODEL_SERVER_CERT and EMOTION_MODEL_SERVER_KEY are set together or not at all")
        _check_certificates(self.model_server_ca, self.model_server_cert, self.model_server_key)
        if self.model_timeout_s > self.request_timeout_s:
            raise ValueError(
                f"EMOTION_MODEL_TIMEOUT_S ({self.model_timeout_s:g}) is longer than "
                f"EMOTION_REQUEST_TIMEOUT_S ({self.request_timeout_s:g})"
            )
        database = parse_url(self.database_url.get_secret_value()).get_backend_name()
        if self.experiments and database == "postgresql" and self.subject_secret is None:
            raise ValueError(
                "EMOTION_SUBJECT_SECRET is not set, but EMOTION_EXPERIMENTS is, and the database can be shared: "
                "gateways that each hash with a random key would take one subject for many"
            )
        if self.detect_side_max < self.detect_side:
            raise ValueError(
                f"EMOTION_DETECT_SIDE_MAX ({self.detect_side_max}) is less than "
                f"EMOTION_DETECT_SIDE ({self.detect_side})"
            )
        if self.body_memory_bytes < max(self.max_batch_bytes, self.max_body_bytes):
            raise ValueError(
                f"EMOTION_BODY_MEMORY_BYTES ({self.body_memory_bytes}) does not hold the largest body "
                f"({max(self.max_batch_bytes, self.max_body_bytes)})"
            )
        if self.max_batch_bytes < self.max_image_bytes:
            raise ValueError(
                f"EMOTION_MAX_BATCH_BYTES ({self.max_batch_bytes}) is less than "
                f"EMOTION_MAX_IMAGE_BYTES ({self.max_image_bytes})"
            )
        return self

    @property
    def streams_limit(self) -> int:
        """Camera streams at a time."""
        return 8 * self.cpu_workers if self.max_streams is None else self.max_streams

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a single image: base64 grows it by a third, multipart or JSON adds up to 64 KiB."""
        return self.max_image_bytes * 4 // 3 + 64 * 2**10


def _check_certificates(ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """gRPC says nothing of files that it cannot read: its connections fail. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except (OSError, ValueError) as error:
            raise ValueError("EMOTION_MODEL_SERVER_CA is no PEM file of certificates") from error
    if cert is not None:
        try:
            # gRPC takes no encrypted key, for which OpenSSL would ask on the terminal.
            context.load_cert_chain(cert, key, password="")  # nosec B106
        except (OSError, ValueError) as error:
            raise ValueError(
                "EMOTION_MODEL_SERVER_CERT and EMOTION_MODEL_SERVER_KEY are no PEM files of a certificate and its key"
            ) from error


def split_names(value: str) -> Any:
    """Names as an environment variable has them: a JSON list, or separated by commas.

    Raises:
        ValueError: it begins like JSON, and is none.
    """
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON list: {error}") from error
    return [name.strip() for name in value.split(",") if name.strip()]


class WrongSettingsError(Exception):
    """One line for each, without its value: it may be a secret."""


def read_settings() -> Settings:
    """The settings of the environment.

    Raises:
        WrongSettingsError: one of them is wrong, or a variable is none of them.
    """
    wrong = _unknown(os.environ)
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        raise WrongSettingsError("\n".join(wrong + _explain(error))) from None
    if wrong:
        raise WrongSettingsError("\n".join(wrong))
    return settings


def _unknown(environment: Mapping[str, str]) -> list[str]:
    prefix = Settings.model_config["env_prefix"]
    known = [name.upper() for name in Settings.model_fields]
    lines = []
    for name, value in environment.items():
        # In any case, as Pydantic reads them.
        asked = name.upper()
        if not asked.startswith(prefix) or asked.removeprefix(prefix) in known or _is_service_link(asked, value):
            continue
        near = get_close_matches(asked.removeprefix(prefix), known, 1)
        lines.append(f"{name} is no setting" + (f"; did you mean {prefix}{near[0]}?" if near else ""))
    return lines


def _is_service_link(name: str, value: str) -> bool:
    """Kubernetes gives each pod variables of every Service, such as of one named emotion-gateway."""
    return bool(_LINK.search(name)) or (name.endswith("_PORT") and bool(_LINK_VALUE.match(value)))


def _explain(error: ValidationError | SettingsError) -> list[str]:
    if isinstance(error, SettingsError):
        return [str(error)]
    lines = []
    for item in error.errors(include_input=False):
        name = "_".join(("EMOTION", *map(str, item["loc"][:1]))).upper() + ": " if item["loc"] else ""
        lines.append(f"{name}{item['msg'].removeprefix('Value error, ')}")
    return lines
