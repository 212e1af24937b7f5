"""Sites: their files, every mistake in one, and which one a machine is."""

import os
import sys
from pathlib import Path

import pytest

from bench.common.spec import UserError
from slurm import site
from slurm.site import Site, array_size, find, load, names
from tests.slurm.jobs import executable

SHIPPED = ["devcluster", "example", "example_mpirun", "local"]
MISTAKES = [
    ("color = 3", "unknown key in site", "'color'"),
    ("cores = '4'", "cores must be an integer, got '4'"),
    ("cores = true", "cores must be an integer, got True"),
    ("cores = -1", "cores must be >= 0, got -1"),
    ("at_once = 0", "at_once must be >= 1, got 0"),
    ("exclusive = 1", "exclusive must be true or false, got 1"),
    ("hosts = 'n1'", "hosts must be a list of strings, got 'n1'"),
    ("modules = [1]", "modules must be a list of strings, got [1]"),
    ("environment = { A = 1 }", "environment must be a table of strings"),
    ("scheduler = 'pbs'", "unknown scheduler of site bad 'pbs'", "known: none, slurm"),
    ("launcher = 'mpiexec'", "unknown launcher of site bad 'mpiexec'; known: mpirun, srun"),
    ("scheduler = 'none'", 'set launcher = "mpirun"'),
    ("partition = 'a b'", "partition must match", "got 'a b'"),
    ('partition = "a\\n#SBATCH --uid=0"', "partition must match"),
    ("account = '-x'", "account must match"),
    ("qos = '$(id)'", "qos must match"),
    ("constraint = 'a;b'", "constraint must match"),
    ("mem = '64 G'", "mem must match", "got '64 G'"),
    ("mem_per_cpu = '$(id)'", "mem_per_cpu must match"),
    ("mem = '1G'\nmem_per_cpu = '1G'", "exclude each other: keep one"),
    ("reservation = 'a b'", "reservation must match"),
    ("gres = 'gpu:1; id'", "gres must match"),
    ("exclude = 'n[1-3] n5'", "exclude must match"),
    ("max_array_size = -1", "max_array_size must be >= 0, got -1"),
    ("directives = '--switches=1'", "directives must be a list of strings"),
    ("directives = ['switches=1']", "must be options of sbatch, such as '--switches=1'"),
    ('directives = ["--switches=1\\nid"]', "directives must be one printable line"),
    ("directives = ['--time=5']", "slurm.submit sets --time itself, got '--time=5'"),
    ("directives = ['-o x']", "slurm.submit sets --output itself, got '-o x'"),
    ("directives = ['--mem-per-cpu=1G']", "has a key of its own: write mem_per_cpu = ..."),
    ("mpi = 'pmix -n 1'", "mpi must match"),
    ("modules = ['gcc', '-gcc']", "modules must match", "got '-gcc'"),
    ("environment = { 'A B' = 'x' }", "a variable of the environment must match", "got 'A B'"),
    ('environment = { A = "x\\ny" }', "environment.A must be one printable line"),
    ('python = "a\\u0000b"', "python must be one printable line"),
    ("cores =", "is not TOML"),
]


def test_bundled_sites_are_short() -> None:
    assert names() == SHIPPED
    for name in names():
        assert load(name).name == name
        assert len((site.SITES / f"{name}.toml").read_text().splitlines()) <= 15


def test_a_site_of_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("cores = 12\nconstraint = '[rack1|rack2]&gpu*2'\nmodules = ['gcc/13.2']\n")
    site_ = load(str(path))
    assert (site_.name, site_.cores, site_.modules) == ("mine", 12, ("gcc/13.2",))
    assert site_.constraint == "[rack1|rack2]&gpu*2"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown site 'locale' \(did you mean local\?\)"):
        load("locale")
    with pytest.raises(UserError, match=r"none\.toml cannot be read"):
        load("/nowhere/none.toml")


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    for text, *parts in MISTAKES:
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            load(str(path))
        line = str(caught.value)
        assert "\n" not in line, text
        assert all(part in line for part in parts), f"{text}: {line}"


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use two sites: `here`, of cluster c1 and hosts login*, and `local`."""
    folder = tmp_path / "sites"
    folder.mkdir()
    (folder / "here.toml").write_text("cluster = 'c1'\nhosts = ['login*']\n")
    (folder / "local.toml").write_text("scheduler = 'none'\nlauncher = 'mpirun'\n")
    monkeypatch.setattr(site, "SITES", folder)
    monkeypatch.setattr("socket.gethostname", lambda: "n1")
    return folder


def scontrol(folder: Path, text: str) -> dict[str, str]:
    """Return an environment whose PATH has this scontrol."""
    executable(folder / "bin" / "scontrol", f"#!/bin/sh\n{text}\n")
    return {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.usefixtures("sites")
def test_a_site_is_found_by_cluster_and_by_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = {"PATH": str(tmp_path)}
    assert find(bare).name == "local"
    assert find(bare | {"SLURM_CLUSTER_NAME": "c1"}).name == "here"
    answer = 'test "$1 $2" = "show config" && echo "ClusterName             = c1"'
    assert find(scontrol(tmp_path, answer)).name == "here"
    monkeypatch.setattr("socket.gethostname", lambda: "login3")
    assert find(bare).name == "here"


@pytest.mark.usefixtures("sites")
def test_a_cluster_without_a_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the cluster 'c9' has no site: give --site NAME, or add"):
        find(scontrol(tmp_path, "echo 'ClusterName = c9'"))


@pytest.mark.usefixtures("sites")
def test_without_an_answer_of_scontrol_the_site_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(scontrol(tmp_path, "echo 'ClusterName = c1'; exit 1")).name == "local"
    monkeypatch.setattr(site, "TIMEOUT_S", 0.1)
    late = "import time; time.sleep(3); print('ClusterName = c1')"
    assert find(scontrol(tmp_path, f'exec {sys.executable} -c "{late}"')).name == "local"


def test_the_array_size_is_of_the_site_or_of_slurm(tmp_path: Path) -> None:
    answer = scontrol(tmp_path, "echo 'MaxArraySize            = 121'")
    assert array_size(Site("a"), answer) == 121
    assert array_size(Site("a", max_array_size=500), answer) == 500
    assert array_size(Site("a"), {"PATH": str(tmp_path)}) == 1001
    assert array_size(load("local"), answer) == 1001


@pytest.mark.usefixtures("slurm")
def test_the_running_cluster_is_found() -> None:
    name = site.cluster_name(os.environ)
    assert name
    if name == load("devcluster").cluster:
        assert find(os.environ).name == "devcluster"
