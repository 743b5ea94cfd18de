import pytest
from pydantic import ValidationError

from api.settings import Settings, WrongSettingsError, read_settings


def test_lists_are_json_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_MODELS", "random, small ,")
    monkeypatch.setenv("EMOTION_LABELS", '["stable", "next"]')
    settings = Settings()
    assert settings.models == ("random", "small")
    assert settings.labels == ("stable", "next")


def test_the_stable_label_is_the_default_and_can_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().default_label == "stable"
    monkeypatch.setenv("EMOTION_DEFAULT_LABEL", "")
    assert Settings().default_label is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"default_model": "other"}, "EMOTION_DEFAULT_MODEL 'other' is not in EMOTION_MODELS"),
        ({"model_server_ca": __file__}, "EMOTION_MODEL_SERVER_TLS is off"),
        ({"model_timeout_s": 20}, "longer than EMOTION_REQUEST_TIMEOUT_S"),
        ({"max_batch_bytes": 2000}, "less than EMOTION_MAX_IMAGE_BYTES"),
        ({"body_memory_bytes": 2**20}, "EMOTION_BODY_MEMORY_BYTES"),
        ({"port": 70000}, "port"),
        ({"models": "[oops"}, "not a JSON list"),
        ({"model_server_ca": "/nowhere.pem", "model_server_tls": True}, "model_server_ca"),
        ({"database_url": "mysql://me:hunter2@host/db"}, "mysql is none of sqlite, postgresql"),
        ({"database_url": "sqlite://"}, "SQLite needs a file"),
        ({"subject_secret": "short"}, "subject_secret"),
        ({"experiments": __file__, "database_url": "postgresql://me@host/db"}, "EMOTION_SUBJECT_SECRET is not set"),
        ({"retention_days": 0}, "retention_days"),
        ({"model_server": "a:8500,b:8500"}, "dns:///serving:8500"),
        ({"model_server": "ipv4:10.0.0.1:8500,serving:8500"}, "'serving:8500' is not an IPv4 address with a port"),
        ({"model_server": "ipv4:10.0.0.1"}, "'10.0.0.1' is not an IPv4 address"),
        ({"model_server": "ipv4:10.0.0.1:8500,"}, "'' is not an IPv4 address"),
        ({"model_server": "ipv6:10.0.0.1:8500"}, "'10.0.0.1:8500' is not an IPv6 address"),
        ({"model_server": "http://localhost:8500"}, "is a URL, and gRPC takes none; write localhost:8500"),
        ({"model_server": "https://serving/"}, "write serving:8500"),
        ({"model_server": "grpc://serving:9000/x"}, "write serving:9000"),
        ({"model_server": "localhost"}, "has no port; write localhost:8500"),
        ({"model_server": "dns:8500"}, "has no port; write 8500:8500"),
        ({"model_server": "dns:///serving"}, "has no port; write serving:8500"),
        ({"model_server": "[::1]"}, r"has no port; write \[::1\]:8500"),
        ({"model_server": "::1:8500"}, "more than one colon"),
        ({"model_server": "localhost:85000"}, "no port from 1 to 65535"),
        ({"model_server": "localhost:0"}, "no port from 1 to 65535"),
        ({"model_server": "localhost:"}, "no port from 1 to 65535"),
        ({"model_server": "localhost:8500/"}, "no port from 1 to 65535"),
        ({"model_server": "ipv4:10.0.0.1:85000"}, "no port from 1 to 65535"),
        ({"model_server": ":8500"}, "has no host; write localhost:8500"),
        ({"model_server": " localhost:8500"}, "is not host:port"),
        ({"model_server": "dns://localhost:8500"}, "names a DNS server.*write dns:///localhost:8500"),
        ({"model_server": "unix:"}, "no port"),
        ({"drain_s": -1}, "drain_s"),
        ({"drain_s": 301}, "drain_s"),
        ({"prot": 1}, "prot"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(**wrong)


@pytest.mark.parametrize(
    "target",
    [
        "serving:8500",
        "my_service.ns.svc.cluster.local:8500",
        "[fd00::1]:8500",
        "dns:serving:8500",
        "dns:///serving:8500",
        "dns://10.0.0.10/serving:8500",
        "unix:/run/serving.sock",
        "ipv4:10.0.0.1:8500,10.0.0.2:8500",
        "ipv6:[fd00::1]:8500,[::1]:8501",
    ],
)
def test_one_or_several_model_servers(target: str) -> None:
    assert Settings(model_server=target).model_server == target


@pytest.mark.parametrize(
    "missing",
    [
        {"database_url": "postgresql://me@host/db", "subject_secret": "s" * 16},
        {"database_url": "sqlite:///outcomes.db"},
    ],
)
def test_a_secret_of_subjects_is_asked_for_only_where_gateways_may_share_a_database(missing: dict) -> None:
    assert Settings(experiments=__file__, **missing)
    assert Settings(database_url="postgresql://me@host/db")


def test_variables_that_are_no_settings_are_refused_by_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DEFAULT_MODLE", "residual")
    monkeypatch.setenv("emotion_prot", "1")
    monkeypatch.setenv("EMOTION_XYZZY", "secret")
    monkeypatch.setenv("EMOTION_RETENTION_DAYS", "0")
    with pytest.raises(WrongSettingsError) as refused:
        read_settings()
    lines = str(refused.value).splitlines()
    assert sorted(lines[:3]) == [
        "EMOTION_DEFAULT_MODLE is no setting; did you mean EMOTION_DEFAULT_MODEL?",
        "EMOTION_XYZZY is no setting",
        "emotion_prot is no setting; did you mean EMOTION_PORT?",
    ]
    assert lines[3].startswith("EMOTION_RETENTION_DAYS: ")


def test_variables_of_others_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORT_80_TCP_PROTO": "tcp",
        "PORT_80_TCP_PORT": "80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
    }
    for name, value in links.items():
        monkeypatch.setenv(f"EMOTION_GATEWAY_{name}", value)
        monkeypatch.setenv(f"EMOTION_{name}", value if name != "PORT" else "8123")
    monkeypatch.setenv("EMOTIONCTL_URL", "http://localhost:8000")
    assert read_settings().port == 8123
    # Of a Service that is named emotion.
    monkeypatch.setenv("EMOTION_PORT", "tcp://10.0.0.1:80")
    with pytest.raises(WrongSettingsError, match="enableServiceLinks: false"):
        read_settings()
