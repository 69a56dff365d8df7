"""What docker-compose.yml and deploy/ promise. `make deploy-check` has the schemas."""

import re
from pathlib import Path

import pytest
import yaml
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
OVERRIDES = sorted((ROOT / "deploy/compose").glob("*.yml"))
MANIFESTS = [
    manifest
    for path in (ROOT / "deploy/kubernetes").glob("*.yaml")
    for manifest in yaml.safe_load_all(path.read_text())
]
PODS = {
    found["metadata"]["name"]: found["spec"]["template"]["spec"]
    for found in MANIFESTS
    if "template" in found.get("spec", {})
}
KNOWN = set(re.findall(r"^([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
OF_OTHERS = {"POSTGRES_DB", "SITE", "UPSTREAM", "PYTHONUNBUFFERED", "GLIBC_TUNABLES", "ENV_FILE"}


class Compose(yaml.SafeLoader):
    """YAML with Compose's tags."""


Compose.add_constructor("!reset", lambda loader, node: None)


def services(path):
    return yaml.load(path.read_text(), Compose)["services"]


def test_web_and_worker_wait_until_the_database_is_migrated():
    compose = services(ROOT / "docker-compose.yml")

    for name in ("web", "worker"):
        assert compose[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert compose["migrate"]["command"] == ["python", "manage.py", "migrate", "--no-input"]
    assert compose["migrate"]["restart"] == "no"


def test_every_service_is_bounded_and_rotates_its_log():
    for service in services(ROOT / "docker-compose.yml").values():
        assert service["mem_limit"]
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_the_port_is_published_to_this_host_alone():
    assert services(ROOT / "docker-compose.yml")["web"]["ports"] == ["${PUBLISH_ADDRESS:-127.0.0.1}:${PORT:-8000}:8000"]


@pytest.mark.parametrize("path", [ROOT / "docker-compose.yml", *OVERRIDES], ids=lambda path: path.stem)
def test_what_a_service_is_told_is_a_setting(path):
    given = {name for service in services(path).values() for name in service.get("environment", {})}

    assert {name.removesuffix("_FILE") for name in given - OF_OTHERS} <= KNOWN | {"POSTGRES_URL"} | {
        f"POSTGRES_{part}" for part in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE")
    }


def test_a_file_that_is_mounted_is_there():
    mounted = [
        volume.partition(":")[0]
        for path in OVERRIDES
        for service in services(path).values()
        for volume in service.get("volumes", [])
        if volume.startswith("./deploy")
    ]

    assert mounted
    assert all((ROOT / name).is_file() for name in mounted)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_a_plain_user_without_a_disk(name):
    pod = PODS[name]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def test_the_pods_are_those_of_compose():
    assert PODS.keys() == {"switchboard-migrate", "switchboard-web", "switchboard-worker"}
    for part in ("migrate", "worker"):
        args = PODS[f"switchboard-{part}"]["containers"][0]["args"]
        assert args == services(ROOT / "docker-compose.yml")[part]["command"]


def test_a_worker_that_hangs_is_found_alike_everywhere():
    check = services(ROOT / "docker-compose.yml")["worker"]["healthcheck"]["test"][1]

    assert PODS["switchboard-worker"]["containers"][0]["livenessProbe"]["exec"]["command"][-1] == check


def test_what_the_cluster_is_told_is_a_setting():
    (told,) = [found["data"] for found in MANIFESTS if found["kind"] == "ConfigMap"]

    assert told.keys() <= KNOWN
