"""Tests of the provenance: environment without secrets, versions, machine and processes."""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
import torch

from bench.results import provenance
from bench.results.claims import process_start
from bench.results.provenance import commit, environment, machine, packages, without_secrets

ALLOWED = {
    "FI_PROVIDER": "tcp",
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "MKL_NUM_THREADS": "1",
    "NCCL_DEBUG": "INFO",
    "OMPI_MCA_osc": "^ucx",
    "OMP_NUM_THREADS": "2",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_CPUS_PER_TASK": "4",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_RESTART_COUNT": "1",
    "UCX_TLS": "sm",
}
OMITTED = {
    "AWS_SECRET_ACCESS_KEY": "s",
    "HDF5_PASSWORD": "s",
    "HOME": "/root",
    "NCCL_Cookie": "s",
    "OMPI_MCA_mca_base_env_list": "AWS_SECRET_ACCESS_KEY=s;PATH",
    "OMPI_MCA_x_token": "s",
    "OMPI_MCA_y_AUTH_z": "s",
    "PATH": "/bin",
    "SLURM_JOB_ID_BEFORE": "1",
    "SLURM_JOB_USER": "someone",
    "SLURM_JWT": "s",
    "TORCH_API_KEY": "s",
    "UCX_credentials": "s",
    "XSLURM_JOB_ID": "1",
    "X_OMP_NUM_THREADS": "1",
}


def test_the_environment_has_the_allow_list_and_no_secret() -> None:
    assert environment(ALLOWED | OMITTED) == ALLOWED
    assert list(environment(dict(reversed(ALLOWED.items())))) == sorted(ALLOWED)


SECRETS = {
    "a token of GitHub": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "a token of Hugging Face": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "an access key": "tcp,AKIAIOSFODNN7EXAMPLE",
    "a web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    "a password in a URL": "https://user:pass@example.org/x",
    "a key in a query": "https://example.org/x?api_key=1",
    "random text": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "a header": "Bearer abcdefghij",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_recognised_by_its_value(kind: str) -> None:
    assert environment({"NCCL_DEBUG": "INFO", "FI_PLACE": SECRETS[kind]}) == {"NCCL_DEBUG": "INFO"}


@pytest.mark.parametrize("kind", [x for x in SECRETS if x != "random text"])
def test_a_secret_of_a_command_line_is_left_out(kind: str) -> None:
    assert without_secrets(["mine.py", SECRETS[kind], "--lr=1"]) == [
        "mine.py",
        "<secret>",
        "--lr=1",
    ]


def test_the_value_of_an_option_for_secrets_is_left_out() -> None:
    words = ["--wandb-api-key", "abc", "--hub-token=abc", "--use-auth-token", "--steps", "3"]
    expected = ["--wandb-api-key", "<secret>", "--hub-token=<secret>", "--use-auth-token"]
    assert without_secrets(words) == [*expected, "--steps", "3"]


def test_command_lines_of_the_suite_are_kept() -> None:
    words = ["--task=tokens/Tokens.py:TokenTask:width=32", "--name", "A1b2" * 10, "runs/Run_2026a"]
    assert without_secrets(words) == words


def test_values_of_common_settings_are_no_secrets() -> None:
    values = {
        "OMPI_MCA_hnp_uri": "1234567.0;tcp://10.0.0.1,192.168.0.1:53217",
        "SLURM_JOB_NODELIST": "node[001-128],gpu[1-4]",
        "TORCH_HOME": "/home/anna/Software2026/torch/cache/hub/checkpoints/V1",
        "UCX_NET_DEVICES": "mlx5_0:1,mlx5_1:1",
        "OMP_PLACES": "{0:4},{4:4},{8:4},{12:4}",
        "MKL_CBWR": "COMPATIBLE",
    }
    assert environment(values) == dict(sorted(values.items()))


def test_the_environment_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SLURM_JWT", "s")
    assert environment()["OMP_NUM_THREADS"] == "3"
    assert "SLURM_JWT" not in environment()


def test_packages_have_their_installed_versions() -> None:
    result = packages()
    assert result["python"] == platform.python_version()
    assert result["torch"] == torch.__version__
    assert result["numpy"] == numpy.__version__
    assert result["murmuration"]


def test_missing_packages_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package-here", "numpy"))
    assert set(packages()) == {"python", "numpy"}


def test_the_machine_is_this_host() -> None:
    result = machine()
    assert (result["cores"], result["kernel"]) == (str(os.cpu_count()), platform.release())
    assert re.fullmatch(r"\d+\.\d\d \d+\.\d\d \d+\.\d\d", result["load"])
    assert result["processor"]


def make_repository(folder: Path) -> Path:
    """Make a git repository with one commit."""
    folder.mkdir()
    (folder / "a").write_text("a")
    names = ["-c", "user.name=a", "-c", "user.email=a"]
    for words in (["init", "-q"], ["add", "a"], [*names, "commit", "-q", "-m", "Add a"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def test_the_commit_is_a_hash_or_says_why_it_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    checkout = make_repository(tmp_path / "checkout")
    assert re.fullmatch("[0-9a-f]{40}", commit(checkout))
    (checkout / "a").write_text("b")
    assert re.fullmatch("[0-9a-f]{40}-dirty", commit(checkout))
    (tmp_path / "none").mkdir()
    assert commit(tmp_path / "none").startswith("not known: not a git repository")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(checkout) == "not known: git is not installed"


def test_a_checkout_of_another_owner_has_a_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkout = make_repository(tmp_path / "checkout")
    (checkout / "inside").mkdir()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    assert re.fullmatch("[0-9a-f]{40}", commit(checkout))
    text = "not known: git refuses a checkout of another owner"
    assert commit(checkout / "inside") == text, "a repository in a parent folder"


def test_processes_have_different_starts() -> None:
    own = process_start(os.getpid())
    assert own.isdigit()
    assert process_start(os.getpid()) == own
    assert int(process_start(os.getppid())) <= int(own)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        time.sleep(0.05)  # some clock ticks
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
            assert int(own) <= int(process_start(other.pid)) < int(process_start(later.pid))
            later.communicate(b"\n")
        other.communicate(b"\n")
    assert process_start(other.pid) == ""


def test_a_zombie_has_no_start() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet reaped
        assert Path(f"/proc/{child.pid}/stat").exists()
        assert process_start(child.pid) == ""
