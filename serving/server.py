"""The server as a whole: load, listen, poll, stop."""

import logging
import threading
from collections.abc import Callable
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import models_config, ports
from serving.errors import ServingError
from serving.flags import Options
from serving.manager import ModelManager
from serving.savedmodel import MAX_MESSAGE_BYTES
from serving.services import MODEL_SERVICE, PREDICTION_SERVICE, Services
from wire.serving_pb2 import ModelConfig, ModelConfigList, ModelServerConfig

log = logging.getLogger(__name__)

# A call keeps one core busy and frees the GIL meanwhile, so more threads than a few per core only spread latency; a
# reload keeps one of them waiting.
MAX_WORKERS = 16
STOP_GRACE_SECONDS = 30.0


class ModelServer:
    """Models and gRPC server of one process. `start` it once, and `stop` it once."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.port = options.port
        self.manager = ModelManager(allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models)
        self._models: dict[str, ModelConfig] = {}
        self._pollers: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="rpc"),
            options=[
                # Otherwise a second server on the port starts without complaint and takes half of the calls.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ],
        )
        services = Services(self.manager)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self._grpc)
        if options.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)

    def start(self) -> None:
        """Load every model, then accept calls on `self.port`.

        A version that fails to load is reported in its status and logged; the rest is served.

        Raises:
            ServingError: a port that is taken, a configuration that is invalid, a label that the flags do not allow.
        """
        ports.require_free(self.options.host, self.options.port)
        self._reload_if_changed()
        address = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        try:
            self.port = self._grpc.add_insecure_port(f"{address}:{self.port}")
        except RuntimeError as error:
            message = f"cannot listen on {address}:{self.port}: {error}"
            raise ServingError(message, grpc.StatusCode.UNAVAILABLE) from error
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        for name, interval, action in (
            ("versions", self.options.file_system_poll_wait_seconds, self.manager.sync),
            ("config", self.options.model_config_file_poll_wait_seconds, self._reload_if_changed),
        ):
            if interval > 0:
                poller = threading.Thread(target=self._poll, args=(interval, action), name=f"poll-{name}", daemon=True)
                poller.start()
                self._pollers.append(poller)

    def stop(self, grace: float = STOP_GRACE_SECONDS) -> None:
        """Refuse new calls, wait up to `grace` seconds for those in flight, end the polling."""
        self._health.enter_graceful_shutdown()
        self.manager.close()
        stopped = self._grpc.stop(grace)
        self._stopping.set()
        for poller in self._pollers:
            poller.join()
        stopped.wait()

    def _read_models(self) -> dict[str, ModelConfig]:
        if self.options.model_config_file is not None:
            config = models_config.read(self.options.model_config_file)
            return models_config.servable_models(config.proto, f"{config.path}: ")
        name, path = self.options.model_name, self.options.model_base_path or ""
        model = ModelConfig(name=name, base_path=path, model_platform=models_config.PLATFORM)
        return models_config.servable_models(ModelServerConfig(model_config_list=ModelConfigList(config=[model])))

    def _reload_if_changed(self) -> None:
        models = self._read_models()
        # A list that was refused is tried again: the version its label waits for may have loaded since.
        if models != self._models:
            reason = self.manager.reload(models)
            self._models = models
            log.log(logging.ERROR if reason else logging.INFO, "models: %s. %s", ", ".join(models), reason)

    def _poll(self, interval: float, action: Callable[[], object]) -> None:
        """Call `action` every `interval` seconds until the server stops, whatever it raises."""
        complaint = ""
        while not self._stopping.wait(interval):
            failure = ""
            try:
                action()
            except ServingError as error:
                failure = f"{error.code.name}: {error}"
            except Exception:
                # A poller that died would leave a server which never sees another version.
                log.exception("%s", threading.current_thread().name)
            if failure and failure != complaint:
                log.error("%s: %s", threading.current_thread().name, failure)
            complaint = failure
