"""The server as a whole: load, listen, poll, stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import config, ports
from serving.config import ModelSettings
from serving.errors import ServingError
from serving.flags import Options
from serving.local import MODEL_SERVICE, PREDICTION_SERVICE, ModelService, PredictionService
from serving.manager import ModelManager
from serving.savedmodel import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

# TensorFlow uses all cores within one call and frees the GIL meanwhile, so more threads than a few per core
# only spread latency; a reload keeps one of them waiting.
MAX_WORKERS = 16
STOP_GRACE_SECONDS = 30.0


class ModelServer:
    """Models and gRPC server of one process.

    `start` returns when calls are accepted; `stop` lets calls in flight finish. Both once.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.port = options.port
        self.manager = ModelManager(allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models)
        self._models: dict[str, ModelSettings] = {}
        self._pollers: list[_Poller] = []
        self._health = health.HealthServicer()
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="rpc"),
            options=[
                # Otherwise a second server on the port starts without complaint and takes half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(self.manager), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.manager), self._grpc)
        if options.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)

    def start(self) -> None:
        """Load every model, then accept calls on `self.port`.

        A version that fails to load is reported in its status and logged; the rest is served. Raises
        ServingError for a port that is taken, a configuration that is invalid, a label that the flags do
        not allow.
        """
        held = ports.reserve(self.options.host, self.options.port)
        try:
            self.port = held.getsockname()[1]
            self._models = self._read_models()
            for name, reason in self.manager.reload(self._models).items():
                log.error("model %s is not available: %s", name, reason)
        finally:
            held.close()
        address = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        try:
            self._grpc.add_insecure_port(f"{address}:{self.port}")
        except RuntimeError as error:
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE, f"cannot listen on {address}:{self.port}: {error}"
            ) from error
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        self._poll("versions", self.options.file_system_poll_wait_seconds, self.manager.sync)
        self._poll("config", self.options.model_config_file_poll_wait_seconds, self._reload_if_changed)

    def stop(self, grace: float = STOP_GRACE_SECONDS) -> None:
        """Refuse new calls, wait up to `grace` seconds for those in flight, end the polling."""
        self._health.enter_graceful_shutdown()
        self.manager.close()
        stopped = self._grpc.stop(grace)
        for poller in self._pollers:
            poller.stop()
        stopped.wait()

    def _read_models(self) -> dict[str, ModelSettings]:
        if self.options.model_config_file is not None:
            return config.read_file(self.options.model_config_file)
        if self.options.model_base_path is not None:
            return config.single_model(self.options.model_name, self.options.model_base_path)
        raise ValueError("Options name neither model_config_file nor model_base_path")

    def _reload_if_changed(self) -> None:
        models = self._read_models()
        # A list that was refused is tried again: the version its label waits for may have loaded since.
        if models != self._models:
            reasons = self.manager.reload(models)
            self._models = models
            log.info("reloaded %s", self.options.model_config_file)
            for name, reason in reasons.items():
                log.error("model %s is not available: %s", name, reason)

    def _set_health(self, status: int) -> None:
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, status)

    def _poll(self, name: str, interval: float, action: Callable[[], object]) -> None:
        if interval > 0:
            self._pollers.append(_Poller(name, interval, action))


class _Poller:
    """Calls `action` every `interval` seconds in a thread of its own, whatever it raises."""

    def __init__(self, name: str, interval: float, action: Callable[[], object]) -> None:
        self._interval = interval
        self._action = action
        self._stopping = threading.Event()
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name=f"poll-{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self._action()
            except ServingError as error:
                self._complain(f"{error.code.name}: {error}")
            except Exception:
                # A poller that died would leave a server which never sees another version.
                log.exception("%s", self._thread.name)
            else:
                self._complaint = ""

    def _complain(self, message: str) -> None:
        if message != self._complaint:
            log.error("%s: %s", self._thread.name, message)
        self._complaint = message
