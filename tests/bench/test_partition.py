"""Runs of bench.partition, and the same measures in the file of a training run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.partition import main
from bench.reporting.partition_view import SHADES, show
from bench.results.reader import read
from bench.train import main as train_main
from tests.launching import launch, own_lines

Capture = pytest.CaptureFixture[str]
TASK = ("--task", "logistic", "--partition", "dirichlet_worker:alpha=0.1")


def csv_of(path: Path, ranks: int, workers: int) -> pd.DataFrame:
    options = [*TASK, "--algorithm", "d_psgd", "--workers", str(workers), "--csv", str(path)]
    if ranks == 1:
        assert main(options) == 0
    else:
        done = launch(ranks, "-m", "bench.partition", *options)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
    return pd.read_csv(path)


def test_measures_and_the_map_of_classes_and_workers(tmp_path: Path, capsys: Capture) -> None:
    table = csv_of(tmp_path / "one.csv", 1, 7)
    out = capsys.readouterr().out
    assert "logistic: 1,437 training samples, 7 workers" in out
    for measure in ("Jensen-Shannon", "effective classes", "Wasserstein", "neighbourhoods", "norm"):
        assert measure in out
    counts = table[[f"class_{c}" for c in range(10)]].to_numpy()
    assert counts.sum() == 1437
    np.testing.assert_array_equal(counts.sum(1), table["size"])
    rows = {line[:14].strip(): line[15:] for line in out.splitlines() if line[14:15] == " "}
    for c in range(10):
        shades = rows[str(c)].ljust(14)[:14:2]
        share = counts[:, c] / counts.sum(1)
        assert all((x == 0) == (shade == " ") for x, shade in zip(share, shades, strict=True))
        order = np.argsort(share)
        places = [SHADES.index(shades[k]) for k in order]
        assert places == sorted(places), "a larger share has a darker shade"


def test_a_shade_is_the_share_of_the_worker_not_of_the_class(capsys: Capture) -> None:
    show(Console(width=80), np.array([[8, 0], [2, 6]]), ["cat", "dog"])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line[15:19] for line in lines if line.strip()[:3] in ("cat", "dog")}
    of_all, quarter, most = SHADES[9], SHADES[1 + int(0.25 * 9)], SHADES[1 + int(0.75 * 9)]
    assert rows == {"cat": 2 * of_all + 2 * quarter, "dog": "  " + 2 * most}


def test_on_ranks_the_measures_are_the_same(tmp_path: Path) -> None:
    one, three = (csv_of(tmp_path / f"{n}.csv", n, 7) for n in (1, 3))
    pd.testing.assert_frame_equal(one, three, rtol=1e-5)  # float32 gradients, other sums


@pytest.mark.parametrize(
    ("name", "begins"), [("p.svg", b"<svg"), ("p.png", b"\x89PNG"), ("p.html", b"<!DOCTYPE")]
)
def test_pictures(tmp_path: Path, name: str, begins: bytes) -> None:
    assert main([*TASK, "--workers", "5", "--picture", str(tmp_path / name)]) == 0
    picture = (tmp_path / name).read_bytes()
    assert picture.lower().startswith(begins.lower())
    assert name != "p.svg" or b"worker" in picture
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--picture", "p.doc"], "--picture p.doc: must end in .svg, .png, .pdf, .html"),
        (["--picture", "/no/p.svg"], "--picture /no/p.svg: there is no folder /no"),
        (["--partition", "natural"], "natural reads groups, and the data of this task have"),
        (["--partition", "target:js=2"], "partition target: js must be in [0, 1], got 2.0"),
        (["--data", "/no/file.csv"], "--data /no/file.csv does not exist: name a folder of IDX"),
        (["--workers", "-1"], "--workers must be >= 1, got -1"),
        (["--workers", "2000"], "2000 workers but 1437 samples"),
    ],
)
def test_mistakes(capfd: Capture, options: list[str], message: str) -> None:
    assert main(["--task", "logistic", *options]) == 2
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error


def test_a_result_file_has_every_measure(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((90, 4)), columns=list("abcd"))
    frame["label"], frame["group"] = np.arange(90) % 3, np.arange(90) // 15
    frame.to_csv(data, index=False)
    options = ["--task", "logistic", "--data", str(data), "--algorithm", "push_sum", "--name", "r"]
    options += ["--workers", "4", "--partition", "natural", "--steps", "3", "--out", str(tmp_path)]
    assert train_main(options) == 0
    run = read(tmp_path / "r.h5")
    names = ("label_tv", "hellinger", "effective_classes", "missing_classes", "feature_distance")
    for name in (*names, "neighbourhood_tv", "gradient_zeta2"):
        assert run.partition[name].shape == (4,)
        assert np.isfinite(run.partition[name]).all()
    attributes = run.attributes
    assert attributes["label_tv_mean"] == pytest.approx(run.partition["label_tv"].mean())
    assert attributes["gradient_zeta2"] == pytest.approx(run.partition["gradient_zeta2"].mean())
    assert attributes["size_ratio"] == run.partition["size"].max() / run.partition["size"].min()
    assert len(attributes["data_sha256"]) == 64
    assert run.params["data"] == str(data)
