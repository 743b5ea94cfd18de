"""Client of TensorFlow Serving's PredictionService and ModelService over gRPC."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from api.errors import (
    BadModelAnswer,
    DeadlineExceeded,
    ModelServerUnavailable,
    NotExplained,
    ServiceError,
    UnknownLabel,
    UnknownModel,
    UnknownVersion,
    VersionNotLoaded,
)
from api.model.addresses import Addresses
from api.model.backlog import Backlog
from api.model.channel import channel_opener
from api.model.replicas import Method, Reason, Replicas
from api.model.tensors import from_array, to_classes, to_heatmaps, to_scores, to_thresholds
from api.observe.request_id import request_id
from api.observe.tracing import call_span
from api.settings import Settings
from faces.contract import SIDE
from wire import serving_pb2 as pb
from wire.target import Target

logger = logging.getLogger(__name__)

Response = TypeVar("Response", bound=Message)
_Request = pb.PredictRequest | pb.GetModelMetadataRequest | pb.GetModelStatusRequest

# Gets model, label and version whenever the model server has chosen the version.
NoteVersion = Callable[[str, str | None, int], None]

AVAILABLE = "AVAILABLE"

FACES_PER_CALL = 32
"""More go in several calls, because a call has a deadline of its own, and 16 photos have up to 800 faces."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a version makes of N faces."""

    # The one that answered.
    version: int
    # C names; none when there was no face.
    classes: tuple[str, ...]
    # [N, C], in the order of the classes; each row adds up to 1.
    probabilities: NDArray[np.float32]
    # [N], the index of each face's likeliest class.
    likeliest: NDArray[np.int64]
    # bool [N], whether a face's confidence is under the version's `unclear_below`; None where the version has none.
    unclear: NDArray[np.bool_] | None
    # How long the model server was waited for.
    infer_ms: float


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What all answers of a version have in common."""

    classes: tuple[str, ...]
    # The confidence under which its answers are unclear; None where it does not say.
    unclear_below: float | None


@dataclass(frozen=True, slots=True)
class VersionStatus:
    version: int
    # TF Serving's name, such as LOADING.
    state: str
    # Why it failed to load, if it did.
    error: str | None


class ModelClient:
    """Besides what it says, each method raises ModelServerUnavailable, DeadlineExceeded or BadModelAnswer."""

    def __init__(
        self,
        replicas: Replicas,
        *,
        timeout_s: float,
        models: Sequence[str],
        labels: Sequence[str],
        note_version: NoteVersion,
    ) -> None:
        """
        Args:
            timeout_s: deadline of each call.
            models: names to offer when asked for an unknown one.
            labels: those to offer, and to look up.
        """
        self._timeout_s = timeout_s
        self._model_names = models
        self._label_names = labels
        self._note_version = note_version
        self.replicas = replicas
        prediction, model = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
        self._predict = Method(prediction + "Predict", pb.PredictResponse)
        self._metadata = Method(prediction + "GetModelMetadata", pb.GetModelMetadataResponse)
        self._status = Method(model + "GetModelStatus", pb.GetModelStatusResponse)
        self._facts: dict[tuple[str, int], VersionFacts] = {}
        self._backlog = Backlog()

    @property
    def wait_s(self) -> float:
        """Seconds that faces sent now would wait for those of others, by estimate."""
        return self._backlog.wait_s

    async def predict(self, target: Target, faces: NDArray[np.float32]) -> Scores:
        """Score float32 [N, 48, 48, 1], all by one version: the one that answers first, where the target names none.

        Raises:
            UnknownModel, UnknownVersion, UnknownLabel, VersionNotLoaded: with no face as well, because whether a
                version exists must not depend on what is in the photo.
        """
        start = perf_counter()
        if not len(faces):
            version = await self.resolve(target)
            infer_ms = (perf_counter() - start) * 1000
            return Scores(version, (), np.empty((0, 0), np.float32), np.empty(0, np.int64), None, infer_ms)
        first = await self._score(target, faces[:FACES_PER_CALL])
        version = first.version
        if target.version is None:
            self._note_version(target.model, target.label, version)
        parts, pinned = [first], Target(target.model, version)
        # One after the other: a large batch must not take the model server from everybody else.
        for begin in range(FACES_PER_CALL, len(faces), FACES_PER_CALL):
            try:
                part = await self._score(pinned, faces[begin : begin + FACES_PER_CALL])
            except UnknownVersion as gone:
                if target.version is not None:
                    raise
                # The client did not ask for that one.
                message = f"Version {version} of model {target.model!r} was replaced during this request."
                raise VersionNotLoaded(message) from gone
            if part.classes != first.classes:
                raise BadModelAnswer("two answers of one version have different classes.")
            parts.append(part)
        self._facts[target.model, version] = first.facts
        scores = np.concatenate([part.scores for part in parts])
        thresholds = [part.unclear_below for part in parts if part.unclear_below is not None]
        unclear = scores.max(axis=1) < np.concatenate(thresholds) if len(thresholds) == len(parts) else None
        infer_ms = (perf_counter() - start) * 1000
        return Scores(version, first.classes, scores, scores.argmax(axis=1), unclear, infer_ms)

    async def _score(self, target: Target, faces: NDArray[np.float32]) -> "_Answer":
        # Without a filter: one that names an output which a version does not have is refused.
        request = pb.PredictRequest(model_spec=target.spec(), inputs={"faces": from_array(faces)})
        with self._backlog.call():
            answer = await self._ask(self._predict, request, target)
        missing = [name for name in ("scores", "classes") if name not in answer.outputs]
        if missing:
            raise BadModelAnswer(f"the answer lacks {', '.join(missing)}.")
        version = _version(answer.model_spec, target)
        scores, classes = to_scores(answer.outputs["scores"], len(faces)), to_classes(answer.outputs["classes"])
        if len(classes) != scores.shape[1]:
            raise BadModelAnswer(f"{scores.shape[1]} scores for {len(classes)} classes.")
        unclear_below = None
        if "unclear_below" in answer.outputs:
            unclear_below = to_thresholds(answer.outputs["unclear_below"], len(faces))
        return _Answer(version, classes, scores, unclear_below)

    async def explain(self, target: Target, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """What speaks for the likeliest class of each face: float32 [N, 48, 48] in [0, 1], Grad-CAM by the contract.

        Raises:
            NotExplained: the version has no such signature.
            UnknownModel, UnknownVersion, VersionNotLoaded: as predict() does.
        """
        parts = [np.empty((0, SIDE, SIDE), np.float32)]
        for begin in range(0, len(faces), FACES_PER_CALL):
            some = faces[begin : begin + FACES_PER_CALL]
            request = pb.PredictRequest(
                model_spec=target.spec(), inputs={"faces": from_array(some)}, output_filter=["heatmap"]
            )
            request.model_spec.signature_name = "explain"
            try:
                with self._backlog.call():
                    answer = await self._ask(self._predict, request)
            except _RefusedError as refusal:
                if "signature" in refusal.details.lower():
                    raise NotExplained(
                        f"Version {target.version} of model {target.model!r} has no signature 'explain'."
                    ) from refusal
                raise await self._explain(refusal, target) from refusal
            if "heatmap" not in answer.outputs:
                raise BadModelAnswer("the answer lacks heatmap.")
            parts.append(to_heatmaps(answer.outputs["heatmap"], len(some)))
        return np.concatenate(parts)

    async def facts(self, model: str, version: int) -> VersionFacts:
        """What a version's answers have in common, asked of it unless it has answered. Raises as predict() does."""
        if (model, version) not in self._facts:
            await self.predict(Target(model, version), np.zeros((1, SIDE, SIDE, 1), np.float32))
        return self._facts[model, version]

    async def resolve(self, target: Target) -> int:
        """The version that would answer. Raises as predict() does."""
        request = pb.GetModelMetadataRequest(model_spec=target.spec(), metadata_field=["signature_def"])
        version = _version((await self._ask(self._metadata, request, target)).model_spec, target)
        if target.version is None:
            self._note_version(target.model, target.label, version)
        return version

    async def versions(self, model: str) -> list[VersionStatus]:
        """Every version that the model server knows, newest first. Raises UnknownModel."""
        request = pb.GetModelStatusRequest(model_spec=pb.ModelSpec(name=model))
        try:
            answer = await self._ask(self._status, request)
        except _RefusedError as refusal:
            others = [name for name in self._model_names if name != model]
            raise UnknownModel(repr(model), others) from refusal
        return sorted(map(_version_status, answer.model_version_status), key=lambda known: -known.version)

    async def labels(self, model: str) -> dict[str, int]:
        """The version behind each of the labels in the settings, without those that do not resolve."""

        async def find(label: str) -> int | None:
            target = Target(model, label=label)
            request = pb.GetModelMetadataRequest(model_spec=target.spec(), metadata_field=["signature_def"])
            try:
                answer = await self._ask(self._metadata, request)
            except _RefusedError:
                return None
            return _version(answer.model_spec, target)

        found = await asyncio.gather(*map(find, self._label_names))
        return {label: version for label, version in zip(self._label_names, found, strict=True) if version is not None}

    async def check_ready(self, target: Target) -> None:
        """Return when the target would be answered; else raise, as predict() does."""
        if target.label is not None:
            await self.resolve(target)
            return
        versions = await self.versions(target.model)
        if not any(known.state == AVAILABLE for known in versions):
            raise _not_ready(target.model, versions)

    async def _ask(self, method: Method[Response], request: _Request, target: Target | None = None) -> Response:
        """Call a method; with a target, a refusal is explained.

        Raises:
            _RefusedError: without a target, where the caller must find out what the refusal means.
        """
        metadata = {"x-request-id": request_id.get() or ""}
        try:
            with call_span(method.path, metadata) as span:
                span.set_attribute("emotion.model", request.model_spec.name)
                answer: Response | None
                try:
                    answer, address = await self.replicas.call(
                        method,
                        request,
                        about=request.model_spec.SerializeToString(),
                        size=_faces(request),
                        timeout_s=self._timeout_s,
                        metadata=tuple(metadata.items()),
                    )
                    span.set_attribute("network.peer.address", address)
                except grpc.aio.AioRpcError as error:
                    span.set_attribute("rpc.grpc.status_code", error.code().value[0])
                    raise self._error(error) from error
                if answer is None:
                    # What gRPC makes of bytes that are not the message.
                    raise BadModelAnswer("the answer cannot be parsed.")
                return answer
        except _RefusedError as refusal:
            if target is None:
                raise
            raise await self._explain(refusal, target) from refusal

    def _error(self, error: grpc.aio.AioRpcError) -> "ServiceError | _RefusedError":
        code, details = error.code(), error.details() or ""
        # TF Serving refuses a signature that a version lacks with FAILED_PRECONDITION.
        if code in (
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.FAILED_PRECONDITION,
        ):
            return _RefusedError(code, details)
        # gRPC's details name addresses within the cluster: they go to the log and not to the client.
        logger.warning("model server: %s: %s", code.name, details)
        match code:
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                return ModelServerUnavailable("The model server cannot be reached.")
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return ModelServerUnavailable("The model server is refusing work.")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return DeadlineExceeded(f"The model server did not answer within {self._timeout_s:g} s.")
            case _:
                return BadModelAnswer(f"The model server failed with {code.name}.")

    async def _explain(self, refusal: "_RefusedError", target: Target) -> ServiceError:
        """What a refused target means, which TF Serving's status code alone does not tell."""
        if refusal.code is grpc.StatusCode.FAILED_PRECONDITION:
            logger.error("model server: FAILED_PRECONDITION: %s", refusal.details)
            return BadModelAnswer("The model server failed with FAILED_PRECONDITION.")
        versions = await self.versions(target.model)
        # TF Serving has no code for this: INVALID_ARGUMENT "Unrecognized servable version label".
        if target.label is not None and "version label" in refusal.details:
            return UnknownLabel(repr(target.label), sorted(await self.labels(target.model)), model=target.model)
        if refusal.code is grpc.StatusCode.INVALID_ARGUMENT:
            logger.error("model server: INVALID_ARGUMENT: %s", refusal.details)
            return BadModelAnswer("The model server does not accept what the model contract says we send.")
        if target.version is None:
            return _not_ready(target.model, versions)
        for known in versions:
            if known.version == target.version:
                return VersionNotLoaded(
                    f"Version {known.version} of model {target.model!r} is {known.state}.", state=known.state
                )
        available = [known.version for known in versions if known.state == AVAILABLE]
        return UnknownVersion(target.version, available, model=target.model)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One call's answer for N faces."""

    version: int
    # C names.
    classes: tuple[str, ...]
    # [N, C].
    scores: NDArray[np.float32]
    # [N]; None where the version does not have it.
    unclear_below: NDArray[np.float32] | None

    @property
    def facts(self) -> VersionFacts:
        below = None if self.unclear_below is None else round(float(self.unclear_below[0]), 6)
        return VersionFacts(self.classes, below)


class _RefusedError(Exception):
    """NOT_FOUND, INVALID_ARGUMENT or FAILED_PRECONDITION: one code for several causes."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def _faces(request: _Request) -> int:
    """How many are sent."""
    return request.inputs["faces"].tensor_shape.dim[0].size if isinstance(request, pb.PredictRequest) else 0


def _version(spec: pb.ModelSpec, target: Target) -> int:
    """The version that answered. Raises BadModelAnswer."""
    if not spec.HasField("version"):
        raise BadModelAnswer("the answer does not say which version it is from.")
    version = spec.version.value
    if target.version not in (None, version):
        raise BadModelAnswer(f"version {target.version} was asked for, and version {version} answered.")
    return version


def _not_ready(model: str, versions: Sequence[VersionStatus]) -> VersionNotLoaded:
    states = ", ".join(f"version {known.version} is {known.state}" for known in versions)
    return VersionNotLoaded(f"Model {model!r} is not ready: {states or 'it has no versions'}.")


def _version_status(status: pb.ModelVersionStatus) -> VersionStatus:
    known = pb.ModelVersionStatus.State
    return VersionStatus(
        status.version,
        # A newer model server may have more of them.
        known.Name(status.state) if status.state in known.values() else str(int(status.state)),
        status.status.error_message or None,
    )


@asynccontextmanager
async def open_client(
    settings: Settings, note_version: NoteVersion, note_retry: Callable[[Reason], None]
) -> AsyncIterator[ModelClient]:
    """A client on connections of its own, in the running event loop; closed at the end."""
    addresses = Addresses(settings.model_server, proxy=settings.model_server_proxy)
    open_channel = channel_opener(
        tls=settings.model_server_tls,
        ca_file=settings.model_server_ca,
        cert_file=settings.model_server_cert,
        key_file=settings.model_server_key,
        host=addresses.host,
        authority=addresses.authority,
        proxy=settings.model_server_proxy,
    )
    replicas = Replicas(addresses, open_channel, note_retry)
    async with replicas.running():
        yield ModelClient(
            replicas,
            timeout_s=settings.model_timeout_s,
            models=settings.models,
            labels=settings.labels,
            note_version=note_version,
        )
