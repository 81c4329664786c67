"""The compose file: what it names exists, nothing secret stands in it, every service is bounded."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml

from tests.docs import verbs
from tests.docs.pages import ROOT

FOLDER = ROOT / "deploy"
FILE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
# Top-level keys and keys of a service, by the compose specification; those that are used here.
TOP = {"name", "services", "networks", "volumes", "secrets"}
SERVICE = {
    "build", "image", "command", "environment", "volumes", "networks", "depends_on", "healthcheck",
    "deploy", "restart", "secrets", "ports",
}  # fmt: skip
CONDITIONS = {"service_healthy", "service_started"}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|_USER$|ACCESS_KEY")
OF_ENVIRONMENT = re.compile(r"\$\{[A-Z_]+(:[-?][^}]*)?\}")


def faults(file: dict[str, Any]) -> list[str]:
    """What is wrong with a compose file."""
    found = [f"key {key!r}" for key in file if key not in TOP and not key.startswith("x-")]
    for name, service in file["services"].items():
        found += [f"{name}: {fault}" for fault in service_faults(file, service)]
    return found


def service_faults(file: dict[str, Any], service: dict[str, Any]) -> list[str]:
    found = [f"key {key!r}" for key in service.keys() - SERVICE]
    if not re.search(r":\D*\d+[.-]\d+", service["image"]):
        found.append(f"image {service['image']!r} has no pinned version")
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    found += [f"no limit of {what}" for what in ("cpus", "memory") if what not in limits]
    health = service.get("healthcheck", {})
    ends = service.get("restart") == "on-failure"  # a job, which no health check can ask
    if not (health.get("disable") and ends) and not {"test", "interval", "retries"} <= set(health):
        found.append("no health check")
    for other, how in service.get("depends_on", {}).items():
        if other not in file["services"] or how["condition"] not in CONDITIONS:
            found.append(f"depends on {other}")
        elif how["condition"] == "service_healthy" and "test" not in file["services"][other].get(
            "healthcheck", {}
        ):
            found.append(f"waits for the health of {other}, which has none")
    for key, value in service.get("environment", {}).items():
        if SECRET.search(key) and not OF_ENVIRONMENT.fullmatch(value):
            found.append(f"{key} is written out")
    for volume in service.get("volumes", []):
        source = volume.replace("${", "").partition(":")[0]
        named = source in file["volumes"] or "VIDEOS" in source
        if not named and not (FOLDER / source).is_file():
            found.append(f"volume {volume!r}")
    found += [
        f"port {p!r} is open to all" for p in service.get("ports", []) if "127.0.0.1" not in p
    ]
    found += [f"secret {s!r}" for s in service.get("secrets", []) if s not in file["secrets"]]
    found += [f"network {n!r}" for n in service.get("networks", []) if n not in file["networks"]]
    return found


def test_it_has_no_faults():
    assert faults(FILE) == []
    assert {"etcd", "minio", "milvus", "adder", "server-1", "server-2", "proxy"} <= set(
        FILE["services"]
    )


@pytest.mark.parametrize(
    ("service", "key", "value", "fault"),
    [
        ("etcd", "image", "quay.io/coreos/etcd:latest", "no pinned version"),
        ("milvus", "healthcheck", {}, "no health check"),
        ("milvus", "deploy", {}, "no limit of memory"),
        ("minio", "environment", {"MINIO_ROOT_PASSWORD": "minioadmin"}, "written out"),
        ("proxy", "ports", ["8080:8080"], "open to all"),
        ("proxy", "volumes", ["./other.conf:/etc/nginx/nginx.conf"], "volume"),
        ("server-1", "depends_on", {"redis": {"condition": "service_healthy"}}, "redis"),
        ("server-1", "restarts", "always", "key 'restarts'"),
    ],
)
def test_faults_are_found(service: str, key: str, value: Any, fault: str):
    wrong = copy.deepcopy(FILE)
    wrong["services"][service][key] = value
    assert any(fault in each for each in faults(wrong))


@pytest.mark.parametrize("name", ["adder", "server-1", "server-2"])
def test_commands_are_those_of_vlar(name: str):
    words = [str(word) for word in FILE["services"][name]["command"]]
    verb = max((each for each in verbs.verbs() if " ".join(words).startswith(each)), key=len)
    assert verb in ("index add", "serve")
    assert {word for word in words if word.startswith("--")} <= verbs.options(verb)


def test_the_proxy_knows_the_servers_and_their_limits():
    text = (FOLDER / "nginx.conf").read_text("utf-8")
    servers = set(re.findall(r"server (server-\d):8765", text))
    assert servers == {name for name in FILE["services"] if name.startswith("server-")}
    assert "hash $remote_addr consistent" in text
    assert text.count("{") == text.count("}")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    assert all(line.endswith((";", "{", "}")) for line in lines if line)


def test_the_example_of_settings_has_no_secret_and_all_names():
    lines = (FOLDER / "example.env").read_text("utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert required <= set(given)
    assert all(given[name] == "" for name in required)
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    assert {"deploy/.env", "deploy/token.txt"} <= set(ignored)


def test_the_image_installs_extras_that_exist():
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    asked = FILE["services"]["adder"]["build"]["args"]["VLAR_EXTRAS"].split(",")
    assert set(asked) <= set(extras)
    assert "ARG VLAR_EXTRAS" in (ROOT / "Dockerfile").read_text("utf-8")
