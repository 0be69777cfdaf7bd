"""What is handed to container engines and clusters: it names things that exist, in known fields."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from longvid.cli import _parser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

# The schemas of KubeRay's ray.io/v1 resources, restated for the fields that the manifests use:
# names, types and what is required, as in its types of RayCluster, RayJob and RayService. The whole
# definitions, a megabyte of pod templates, are the cluster's: kubectl apply --dry-run=server.
POD: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "required": ["name", "image"]},
                },
                "volumes": {"type": "array", "items": {"required": ["name"]}},
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
CLUSTER: dict[str, Any] = {
    "type": "object",
    "required": ["headGroupSpec"],
    "properties": {
        "rayVersion": {"type": "string"},
        "headGroupSpec": {
            "type": "object",
            "required": ["template", "rayStartParams"],
            "properties": {"template": POD, "rayStartParams": PARAMETERS},
            "additionalProperties": False,
        },
        "workerGroupSpecs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    *("groupName", "template", "rayStartParams", "minReplicas", "maxReplicas")
                ],
                "properties": {
                    "groupName": {"type": "string"},
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": PARAMETERS,
                    "template": POD,
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
SPECS: dict[str, Any] = {
    "RayJob": {
        "required": ["entrypoint", "rayClusterSpec"],
        "properties": {
            "entrypoint": {"type": "string"},
            "shutdownAfterJobFinishes": {"type": "boolean"},
            "ttlSecondsAfterFinished": COUNT,
            "backoffLimit": COUNT,
            "rayClusterSpec": CLUSTER,
        },
    },
    "RayService": {
        "required": ["serveConfigV2", "rayClusterConfig"],
        "properties": {"serveConfigV2": {"type": "string"}, "rayClusterConfig": CLUSTER},
    },
}


@pytest.mark.parametrize("path", sorted((DEPLOY / "kuberay").glob("*.yaml")), ids=lambda p: p.stem)
def test_manifests_use_known_fields(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    assert manifest["apiVersion"] == "ray.io/v1"
    schema = {"type": "object", "additionalProperties": False, **SPECS[manifest["kind"]]}
    jsonschema.validate(manifest["spec"], schema)
    broken = {**manifest["spec"], "replicas": 3}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_the_job_starts_a_module_that_exists() -> None:
    manifest = yaml.safe_load((DEPLOY / "kuberay" / "rayjob.yaml").read_text())
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:2] == ["python", "-m"]
    assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file()


def test_the_service_starts_an_application_that_exists() -> None:
    pytest.importorskip("ray.serve", reason="install longvid[ray]")
    manifest = yaml.safe_load((DEPLOY / "kuberay" / "rayservice.yaml").read_text())
    config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    [application] = config["applications"]
    module, _, name = application["import_path"].partition(":")
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
    assert f"def {name}(arguments" in source
    known = set(re.findall(r"arguments(?:\.get\(|\[)\"(\w+)\"", source))
    assert set(application["args"]) <= known


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda", "longvid.service"])
def test_commands_are_ones_that_longvid_knows(name: str) -> None:
    text = (DEPLOY / name).read_text()
    quoted = re.findall(r"^CMD \[(.*)\]$", text, re.M)
    words = shlex.split(quoted[-1].replace(",", " ")) if quoted else None
    if words is None:
        [line] = re.findall(r"^ExecStart=(.*)$", text, re.M)
        words = shlex.split(line)
    options = _parser().parse_args(words[1:])
    assert options.command == "serve"
    assert options.api_key_file


def test_the_compose_file_names_files_that_exist() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["longvid"]
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]).is_file()
