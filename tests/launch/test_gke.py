"""What is handed to Kubernetes: every place filled in, and fields that JobSet v1alpha2 has."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

WORDS = {
    "NAME": "sacd",
    "IMAGE": "registry.example/sacd:1",
    "NODES": "4",
    "CLAIM": "shared",
    "ACCELERATOR": "some-chip",
    "TOPOLOGY": "4x4",
    "CHIPS": "8",
}
TRAIN = ["train", "--workdir", "/shared/a run"]

# kubernetes-sigs/jobset, api/jobset/v1alpha2/jobset_types.go; the Job's own from batch/v1.
FIELDS = {
    "spec": {"failurePolicy", "replicatedJobs"},
    "failurePolicy": {"maxRestarts", "restartStrategy", "rules"},
    "rule": {"name", "action", "onJobFailureReasons", "targetReplicatedJobs"},
    "replicatedJob": {"name", "groupName", "template", "replicas", "dependsOn"},
    "job": {"parallelism", "completions", "completionMode", "backoffLimit", "podFailurePolicy"}
    | {"template"},
}


def gke(root: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    words = {name: value for name, value in (WORDS | changed).items() if value}
    return subprocess.run(
        ["bash", str(root / "launch/gke.sh"), *arguments],
        env={"PATH": os.environ["PATH"], **words},
        capture_output=True,
        text=True,
        timeout=60,
    )


def printed(root: Path, kind: str) -> dict[str, Any]:
    result = gke(root, "--dry-run", kind, *TRAIN)
    assert result.returncode == 0, result.stderr
    assert not re.search(r"\$\{\w+\}", result.stdout)
    return yaml.safe_load(result.stdout)


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_it_is_a_jobset_that_starts_again_after_a_lost_machine_only(root: Path, kind) -> None:
    jobset = printed(root, kind)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    spec, policy = jobset["spec"], jobset["spec"]["failurePolicy"]
    (workers,) = spec["replicatedJobs"]
    job = workers["template"]["spec"]
    assert spec.keys() <= FIELDS["spec"] and policy.keys() <= FIELDS["failurePolicy"]
    assert all(rule.keys() <= FIELDS["rule"] for rule in policy["rules"])
    assert workers.keys() <= FIELDS["replicatedJob"] and job.keys() <= FIELDS["job"]
    actions = {rule["onJobFailureReasons"][0]: rule["action"] for rule in policy["rules"]}
    assert actions == {"PodFailurePolicy": "RestartJobSet", "BackoffLimitExceeded": "FailJobSet"}
    codes, condition = job["podFailurePolicy"]["rules"]
    (container,) = job["template"]["spec"]["containers"]
    assert 75 in codes["onExitCodes"]["values"] and 1 not in codes["onExitCodes"]["values"]
    assert codes["onExitCodes"]["containerName"] == container["name"]
    assert condition["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert (job["backoffLimit"], job["parallelism"], job["completions"]) == (0, 4, 4)
    assert container["args"] == ["-m", "sacd_jax.train", "--workdir", "/shared/a run"]


def test_gpu_pods_are_told_where_to_meet(root: Path) -> None:
    (workers,) = printed(root, "gpu")["spec"]["replicatedJobs"]
    (container,) = workers["template"]["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert variables == {
        "JAX_COORDINATOR_ADDRESS": f"sacd-{workers['name']}-0-0.sacd:8476",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": None,  # from the Job's own index
    }


@pytest.mark.parametrize(
    ("arguments", "changed", "message"),
    [
        (["gpu"], {}, "usage: bash launch/gke.sh"),
        (["gpu", "sweep"], {}, "usage: bash launch/gke.sh"),
        *((["tpu", *TRAIN], {name: ""}, f"{name} is not set") for name in WORDS),
        (["gpu", *TRAIN], {"NODES": "0"}, "NODES is not a number"),
        (["gpu", *TRAIN], {"IMAGE": "a: b"}, "IMAGE holds a character"),
        (["gpu", *TRAIN, 'a"b'], {}, "an argument holds a quote"),
    ],
)
def test_what_is_missing_is_said(root: Path, arguments, changed, message) -> None:
    result = gke(root, "--dry-run", *arguments, **changed)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
