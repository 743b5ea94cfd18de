"""What tensorflow_model_server reads, by its own messages, and the health check that its image comes with."""

import shutil
import subprocess
from contextlib import AbstractContextManager
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from api.settings import Settings
from tests.deploy.dockerfiles import ROOT, stages
from tests.deploy.pages import serve_page

SERVING = ROOT / "serving"
METRICS_PATH = "/monitoring/prometheus/metrics"

# tensorflow-serving-api leaves these two messages out. Their fields stand in tensorflow/serving, in tensorflow_serving/
# servables/tensorflow/session_bundle_config.proto and tensorflow_serving/config/monitoring_config.proto.
BATCHING_PARAMETERS = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "allowed_batch_sizes": [descriptor_pb2.FieldDescriptorProto.TYPE_INT64],
    "pad_variable_length_inputs": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "enable_large_batch_splitting": "BoolValue",
    "max_execution_batch_size": "Int64Value",
}
MONITORING_CONFIG = {
    "prometheus_config": {
        "enable": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
        "path": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    }
}


def message(fields: dict[str, Any]) -> Any:
    """An empty message with these fields: a scalar's type, a list around it, a wrapper's name, or a dict of fields."""
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    declare(file.message_type.add(name="Message"), fields, "test.Message")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Message"))()


def declare(kind: descriptor_pb2.DescriptorProto, fields: dict[str, Any], path: str) -> None:
    for number, (name, of) in enumerate(fields.items(), start=1):
        field = kind.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
        if isinstance(of, dict):
            nested = kind.nested_type.add(name=f"Of_{name}")
            declare(nested, of, f"{path}.{nested.name}")
            field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".{path}.{nested.name}"
        elif isinstance(of, str):
            field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".google.protobuf.{of}"
        elif isinstance(of, list):
            [field.type], field.label = of, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        else:
            field.type = of


def batching() -> Any:
    return text_format.Parse((SERVING / "batching.config").read_text(), message(BATCHING_PARAMETERS))


def models() -> Any:
    text = (SERVING / "models.config").read_text()
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config


def test_every_model_and_every_labelled_version_is_in_the_repository() -> None:
    assert models()
    for model in models():
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"
        assert model.version_labels
        for version in model.version_labels.values():
            assert (ROOT / "model_repository" / model.name / str(version) / "saved_model.pb").is_file()


def test_the_gateways_models_and_its_label_are_served() -> None:
    settings = Settings()
    labels = {model.name: set(model.version_labels) for model in models()}
    assert set(settings.models) <= set(labels)
    assert settings.default_label in labels[settings.default_model]


def test_a_batch_takes_the_largest_request_of_a_gateway() -> None:
    parameters = batching()
    settings = Settings()
    largest = settings.max_batch_files * settings.max_faces
    assert parameters.enable_large_batch_splitting.value
    # Without splitting max_batch_size bounds what is run at once, and with it what a request may hold.
    assert parameters.max_batch_size.value >= largest > parameters.max_execution_batch_size.value > 1
    # All pieces of a request have to find a place in the queue.
    assert parameters.max_enqueued_batches.value * parameters.max_execution_batch_size.value >= largest
    assert parameters.num_batch_threads.value >= 1
    # The last one would have to be the largest batch.
    assert not parameters.allowed_batch_sizes


def test_metrics_are_where_prometheus_and_the_health_check_look() -> None:
    config = text_format.Parse((SERVING / "monitoring.config").read_text(), message(MONITORING_CONFIG))
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == METRICS_PATH
    assert f"GET {METRICS_PATH} " in health_check(8501)[-1]


def health_check(port: int) -> list[str]:
    command = stages("Dockerfile.serving")[-1].command("HEALTHCHECK")
    assert command[0] == "bash"
    assert "/8501 " in command[-1]
    return [*command[:-1], command[-1].replace("/8501 ", f"/{port} ")]


def rest_server(status: int) -> AbstractContextManager[int]:
    return serve_page(METRICS_PATH, lambda: "# TYPE x counter\n", status)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (404, False), (503, False)])
def test_the_health_check_believes_the_status_alone(status: int, healthy: bool) -> None:
    with rest_server(status) as port:
        done = subprocess.run(health_check(port), check=False, timeout=60)
    assert (done.returncode == 0) is healthy


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_health_check_fails_where_nobody_listens() -> None:
    with rest_server(200) as port:
        pass
    assert subprocess.run(health_check(port), check=False, capture_output=True, timeout=60).returncode != 0
