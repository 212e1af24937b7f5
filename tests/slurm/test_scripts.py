"""Tests of the batch scripts of sweeps: their text, and options passed unchanged.

MURMURATION_GOLDEN=1 rewrites the texts in golden/.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.common.spec import UserError
from slurm import queue
from slurm.case import Case, Geometry
from slurm.plan import plan
from slurm.scripts import array_script, jobs_of, report_script, sbatch_arguments, words
from slurm.site import Site, load
from tests.launching import DEADLINE_S
from tests.slurm.jobs import CHECKOUT, environment, executable

GOLDEN = Path(__file__).parent / "golden"
ODD = Path('/srv/it\'s a $(touch ran) "100%"; exit 9')
FULL = Site(
    "full",
    launcher="mpirun",
    partition="big",
    account="project-7",
    qos="normal",
    constraint="[rack1|rack2]&gpu*2",
    reservation="maintenance_7",
    gres="gpu:a100:2",
    mem="64G",
    exclude="n[3-5],n9",
    directives=("#SBATCH --switches=1", '--comment="it\'s $(touch ran) `touch ran`"'),
    exclusive=True,
    cores=4,
    at_once=3,
    modules=("gcc/13.2.0", "openmpi"),
    environment={"GREETING": "it's $(touch ran) `touch ran` \\ *", "EMPTY": ""},
    python="/opt/my python/bin/python",
)
HOSTILE = """\
task = "cnn"
data = [
    "two  words ",
    "it's",
    '"quoted"',
    "$(touch ran) ${HOME}",
    "`touch ran`",
    "; touch ran; exit 9",
    "a & touch ran | cat > ran",
    "*",
    "-rf",
    "back\\\\slash \\\\n",
    "#SBATCH --uid=0",
    "Grüße \u2603",
]
ranks = 6
minutes = 3
"""


def hostile(folder: Path) -> list[Case]:
    """Cases whose options try everything, with names that say nothing."""
    path = folder / "hostile.toml"
    path.write_text(HOSTILE)
    return [replace(x, name=f"case-{i}") for i, x in enumerate(plan(path, FULL))]


def golden(name: str, text: str) -> None:
    """Assert that the text equals a file of golden/."""
    path = GOLDEN / name
    if os.environ.get("MURMURATION_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def scripts(folder: Path) -> dict[str, str]:
    cases = hostile(folder)
    place, here = cases[0].geometry, Path("/opt/check out")
    plain = Geometry(4, 2, 2, 30)
    return {
        "hostile.sbatch": array_script(place, cases, FULL, ODD, here),
        "plain.sbatch": array_script(plain, cases[:1], load("devcluster"), Path("/srv/x"), here),
        "report.sbatch": report_script(FULL, ODD, here),
    }


def test_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    for name, text in scripts(tmp_path).items():
        golden(name, text)
    golden("hostile.args", "\n".join(words(case, ODD) for case in hostile(tmp_path)))


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    for name, text in scripts(tmp_path).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        # Single quotes around a $ are meant. What is sourced is looked for in the checkout.
        ["shellcheck", "-x", "--exclude=SC2016", *sorted(tmp_path.glob("*.sbatch"))],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def prepared(folder: Path, site: Site) -> tuple[Path, list[Case]]:
    """Return a script for hostile cases in a folder, with their words beside it."""
    cases = hostile(folder)
    place = cases[0].geometry
    jobs_of(place, folder).mkdir(parents=True)
    for i, case in enumerate(cases):
        (jobs_of(place, folder) / f"{i}.args").write_text(words(case, folder))
    script = folder / "script"
    script.write_text(array_script(place, cases, site, folder, CHECKOUT))
    return script, cases


RECORD = '#!/usr/bin/env bash\nprintf \'%s\\0\' "$@" >"$RECORD"\nenv -0 >"$RECORD.environment"\n'
JOB = {
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_JOB_ID": "6",
    "SLURM_NTASKS": "6",
    "SLURM_NNODES": "2",
    "SLURM_CPUS_PER_TASK": "1",
    "MURMURATION_PYTHON": sys.executable,
}


def recorded(path: Path) -> list[str]:
    return path.read_text().split("\0")[:-1]


def test_the_program_gets_the_words_of_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / ODD.name
    folder.mkdir()
    site = replace(FULL, launcher="srun", python="", modules=())
    script, cases = prepared(folder, site)
    executable(tmp_path / "bin" / "srun", RECORD)
    for i, case in enumerate(cases):
        record = tmp_path / f"record{i}"
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        more = JOB | {"PATH": path, "RECORD": str(record), "SLURM_ARRAY_TASK_ID": str(i)}
        done = subprocess.run(
            ["bash", script],
            cwd=tmp_path,
            env=environment(more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        words_ = recorded(record)
        module = words_.index("-m") + 1
        assert words_[module - 2] == sys.executable
        assert words_[module] == "bench.train"
        sent = case.argv(folder)[1:]
        assert words_[-len(sent) :] == sent
        assert f"--data={case.options['data']}" in sent
        variables = recorded(Path(f"{record}.environment"))
        assert f"GREETING={site.environment['GREETING']}" in variables
        assert "EMPTY=" in variables
    assert not list(tmp_path.rglob("ran"))
    assert not (CHECKOUT / "ran").exists()


def test_modules_are_loaded_before_python_is_searched(tmp_path: Path) -> None:
    python = executable(tmp_path / "its" / "python", "#!/bin/sh\n")
    script, _ = prepared(tmp_path, replace(FULL, launcher="srun", python="python"))
    executable(tmp_path / "bin" / "srun", RECORD)
    # Like real module functions, it uses an unset variable.
    module = f'() {{ echo "$@ $NOT_SET" >>{tmp_path}/loaded; PATH={python.parent}:$PATH; }}'
    more = JOB | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RECORD": str(tmp_path / "record"),
        "SLURM_ARRAY_TASK_ID": "0",
        "BASH_FUNC_module%%": module,
    }
    done = subprocess.run(
        ["bash", script], env=environment(more), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "loaded").read_text() == "load gcc/13.2.0 \nload openmpi \n"
    assert str(python) in recorded(tmp_path / "record")


def test_the_signal_comes_after_half_of_a_short_time(tmp_path: Path) -> None:
    for minutes, notice in ((1, 30), (3, 90), (4, 120), (600, 120)):
        text = array_script(Geometry(1, 1, 1, minutes), [], FULL, tmp_path, CHECKOUT)
        assert f"#SBATCH --time={minutes}\n" in text
        assert f"#SBATCH --signal=B:USR1@{notice}\n" in text


def test_control_characters_and_backslashes_are_refused() -> None:
    place = Geometry(1, 1, 1, 1)
    for call in (
        lambda: array_script(place, [], FULL, Path("/srv/a\nb"), CHECKOUT),
        lambda: report_script(FULL, Path("/srv/x"), Path("/opt/\x1b")),
        lambda: sbatch_arguments(place, Path("/srv/a\nb"), CHECKOUT),
    ):
        with pytest.raises(UserError, match="contains control characters"):
            call()
    with pytest.raises(UserError, match="contains a backslash"):
        sbatch_arguments(None, Path("/srv/a\\b"), CHECKOUT)


def test_paths_are_arguments_of_sbatch() -> None:
    place = Geometry(8, 4, 1, 30)
    assert sbatch_arguments(place, Path("/srv/100%"), Path("/opt/x y")) == [
        "--chdir=/opt/x y",
        "--output=/srv/100%%/jobs/r8-n2-t1-m30/%a.out",
    ]
    assert sbatch_arguments(None, Path("/srv/x"), Path("/opt"))[1] == (
        "--output=/srv/x/jobs/report.out"
    )


@pytest.mark.usefixtures("slurm")
def test_a_real_slurm_accepts_the_options_of_a_site(tmp_path: Path) -> None:
    site = Site("any", mem="50M", directives=('--comment="it\'s $(touch ran)"', "-H"))
    script, cases = prepared(tmp_path, site)
    arguments = sbatch_arguments(cases[0].geometry, tmp_path, CHECKOUT)
    queue.check([*arguments, str(script)])
    (tmp_path / "other").mkdir()
    wrong, _ = prepared(tmp_path / "other", replace(site, reservation="there_is_none"))
    with pytest.raises(queue.RefusedError, match="reservation"):
        queue.check([*arguments, str(wrong)])


@pytest.mark.usefixtures("slurm")
def test_a_real_slurm_runs_the_script(tmp_path: Path) -> None:
    folder = tmp_path / ODD.name
    folder.mkdir()
    site = Site("any", at_once=2)
    script, cases = prepared(folder, site)
    place = cases[0].geometry
    each = 'printf "%s\\0" "$@" >"$RECORD.$SLURM_ARRAY_TASK_ID.$SLURM_PROCID"\n'
    each += 'echo "rank $SLURM_PROCID node $SLURM_NODEID"\n'
    python = executable(tmp_path / "python", f"#!/usr/bin/env bash\n{each}")
    variables = {"MURMURATION_PYTHON": str(python), "RECORD": str(tmp_path / "record")}
    options = ["--wait", "--array=3,11", *sbatch_arguments(place, folder, CHECKOUT)]
    done = subprocess.run(
        ["sbatch", *options, script],
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    outputs = {i: jobs_of(place, folder) / f"{i}.out" for i in (3, 11)}
    assert done.returncode == 0, (done.stderr, [x.read_text() for x in outputs.values()])
    for i, output in outputs.items():
        lines = sorted(x for x in output.read_text().splitlines() if "cpu binding" not in x)
        assert lines == [f"rank {rank} node {rank // 4}" for rank in range(6)]
        for rank in range(6):
            sent = cases[i].argv(folder)[1:]
            assert recorded(tmp_path / f"record.{i}.{rank}")[-len(sent) :] == sent
