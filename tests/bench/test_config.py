"""Options of a run: command line, TOML file, error messages, and the hash of a case."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from bench.common.spec import UserError
from bench.runtime.experiment import Experiment
from bench.runtime.options import TABLE, TrainOptions
from bench.runtime.repeat import read_options as read

BASE = [
    *("--task", "quadratic:dimension=3,samples=50"),
    *("--algorithm", "elastic_averaging:period=2,alpha=0.1"),
    *("--partition", "dirichlet:alpha=0.1"),
    *("--optimizer", "sgd:lr=0.2,momentum=0.9"),
]


def hash_of(*more: str, workers: int = 8, ranks: int = 4) -> str:
    return Experiment.resolve(read([f"--workers={workers}", *BASE, *more]), ranks).hash


def message(argv: list[str]) -> str:
    with pytest.raises(UserError) as error:
        Experiment.resolve(read(argv), ranks=1)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_options_have_defaults() -> None:
    assert read([]) == TrainOptions()


def test_every_option_reaches_its_field() -> None:
    values = {
        "task": "logistic",
        "data": "d.csv",
        "algorithm": "local_sgd:period=3",
        "pipeline": "gpipe",
        "staleness": "pipedream",
        "partition": "shards",
        "optimizer": "sgd:lr=1.0",
        "schedule": "cosine:warmup=2",
        "clip": 1.5,
        "allreduce": "ring",
        "workers": 12,
        "steps": 3,
        "batch": 5,
        "accumulate": 2,
        "seed": 6,
        "dtype": "float64",
        "device": "cuda",
        "churn": "mtbf=9steps",
        "loss_bursts": "mean=2",
        "on_death": "adopt",
        "protect_every": 8,
        "eval_every": 7,
        "eval_at": "step",
        "validation": 0.3,
        "answer": "niche",
        "target": 0.5,
        "patience": 4,
        "wire": "bf16",
        "warmup": 1,
        "straggler": "worker=1,factor=3",
        "drop": 0.1,
        "link": "latency=2ms,bandwidth=10MB/s",
        "clock": "model",
        "compute": "10ms,noise=lognormal:0.2",
        "threads": 2,
        "ranks": 4,
        "out": "o",
        "name": "n",
        "overwrite": True,
        "launches": 3,
        "flush_every": 9,
        "writers": "node",
        "checkpoint_every": 11,
        "watchdog": "auto",
        "save_model": "best.pt",
        "jsonl": "x.jsonl",
        "tensorboard": "board",
        "verbose": True,
    }
    argv = [
        f"--{key.replace('_', '-')}={value}" for key, value in values.items() if value is not True
    ]
    config = read([*argv, "--overwrite", "--verbose"])
    assert dataclasses.asdict(config) == values | {
        "controller": "fixed",
        "repeat": "",
        "epochs": None,  # excluded by steps
        "resume": False,
        "trace": 0,  # excluded by the model clock
    }  # tested elsewhere
    assert all(value != getattr(TrainOptions(), key) for key, value in values.items())


def test_the_command_line_overrides_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'task = "quadratic:dimension=3"\nsteps = 30\ntarget = 1e-3\noverwrite = true\n'
        'eval-every = 5\nflush_every = 6\nseed = 4\nname = "7"\n'
    )
    config = read(["--config", str(path)])
    assert config == TrainOptions(
        task="quadratic:dimension=3",
        steps=30,
        target=0.001,
        overwrite=True,
        eval_every=5,
        flush_every=6,
        seed=4,
        name="7",
    )
    merged = read(["--seed", "5", "--config", str(path), "--eval-every", "8"])
    assert merged == dataclasses.replace(config, seed=5, eval_every=8)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stesp = 3", "unknown option in {path} 'stesp' (did you mean steps?); known: accumul"),
        ("steps = [3]", "{path}: steps must be one value, got [3]"),
        ("[steps]\nof = 3", "{path}: steps must be one value, got {{'of': 3}}"),
        ("steps = true", "--steps must be a whole number, got 'true'"),
        ("steps = 3.0", "--steps must be a whole number, got '3.0'"),
        ("overwrite = 1", "--overwrite must be true or false, got '1'"),
        ("steps = ", "--config {path} is not TOML: "),
        ("steps = 3\nsteps = 4", "--config {path} is not TOML: "),
        ("eval-every = 3\neval_every = 4", "{path}: eval_every is given twice"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert message(["--config", str(path)]).startswith(line.format(path=path))


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert message(["--config", str(path)]).startswith(f"--config {path} cannot be read: ")
    assert message(["--config", str(tmp_path)]).startswith(f"--config {tmp_path} cannot be read: ")
    path.write_bytes(b"name = '\xff'")
    assert message(["--config", str(path)]).startswith(f"--config {path} cannot be read: ")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--workers", "-1"], "--workers must be >= 0, got -1"),
        (["--steps", "0"], "--steps must be >= 1, got 0"),
        (["--batch", "0"], "--batch must be >= 1, got 0"),
        (["--seed", "-1"], "--seed must be >= 0, got -1"),
        (["--eval-every", "0"], "--eval-every must be >= 1, got 0"),
        (["--warmup", "-1"], "--warmup must be >= 0, got -1"),
        (["--threads", "-2"], "--threads must be >= 0, got -2"),
        (["--ranks", "-4"], "--ranks must be >= 0, got -4"),
        (["--flush-every", "0"], "--flush-every must be >= 1, got 0"),
        (["--steps", "1e3"], "--steps must be a whole number, got '1e3': write 1000"),
        (["--batch", "2^4"], "--batch must be a whole number, got '2^4': write 16"),
        (["--target", "95%"], "--target must be a number, got '95%': write 0.95"),
        (["--name", "a.h5"], "--name is without .h5, which is added, got 'a.h5'"),
        (["--link", "5ms"], "--link: write key=value, got '5ms': did you mean latency=5ms?"),
        (["--target", "high"], "--target must be a number, got 'high'"),
        (["--dtype", "float16"], "unknown dtype 'float16' (did you mean bfloat16?); known: bfloat"),
        (["--allreduce", "rin"], "unknown allreduce 'rin' (did you mean ring?); known: "),
        (["--name", "a/b"], "--name must not hold a folder, got 'a/b': use --out for that"),
        (["--name", ".x"], "--name must not begin with a dot, got '.x': reports skip hidden files"),
        (["--name", "a\n"], "--name must be printable, got 'a\\n': leave out control characters"),
        (["--task", "digit"], "unknown task 'digit' (did you mean digits?); known: cnn, digits, "),
        (["--algorithm", "local_sgd:period=-1"], "algorithm local_sgd: period must be >= 0"),
        (["--partition", "dirichlet:alfa=1"], "unknown option of partition dirichlet 'alfa' (did"),
        (["--optimizer", "sgd:lr=0"], "optimizer sgd: lr must be > 0 and finite, got 0.0"),
        (["--step", "3"], "unknown option '--step' (did you mean --steps?); known: --accumulate, "),
        (["3"], "'3' belongs to no option: options begin with --"),
        (["--stepz=3"], "unknown option '--stepz' (did you mean --steps?); known: --"),
        (["--confg", "x"], "unknown option '--confg' (did you mean --config?); known: --"),
        (["--steps"], "argument --steps: expected one argument; see --help"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(argv: list[str], line: str) -> None:
    assert message(argv).startswith(line)


def test_too_large_seeds_are_refused() -> None:
    assert read(["--seed", str(2**63 - 1)]).seed == 2**63 - 1
    assert "--seed must be below 2^63" in message(["--seed", str(2**64)])


@pytest.mark.parametrize("target", ["nan", "inf", "-inf"])
def test_a_target_must_be_finite(target: str) -> None:
    assert message([f"--target={target}"]).startswith("--target must be finite")


@pytest.mark.parametrize("text", ["-1", "-0.5", "-.5"])
def test_a_negative_number_is_a_value(text: str) -> None:
    assert read(["--target", text]).target == float(text)


def test_help_lists_every_field_with_default_and_choices() -> None:
    text = re.sub(r"\s+", " ", TABLE.parser().format_help())
    for option in dataclasses.fields(TrainOptions):
        assert f"--{option.name.replace('_', '-')} " in text
        assert option.metadata["help"] in text
        if option.default not in ("", None, False):
            assert f"(default: {option.default})" in text
    assert "--config FILE" in text
    assert "float32, float64" in text


CHANGES = [
    ("--seed", "1"),
    ("--partition", "dirichlet:alpha=0.2"),
    ("--algorithm", "elastic_averaging:period=2,alpha=0.2"),
    ("--algorithm", "local_sgd"),
    ("--task", "quadratic:dimension=3,samples=51"),
    ("--optimizer", "sgd:lr=0.2"),
    ("--allreduce", "ring"),
    ("--dtype", "float64"),
    ("--batch", "17"),
    ("--steps", "401"),
    ("--target", "0.5"),
    ("--threads", "2"),
]


def test_options_that_change_the_numbers_change_the_hash() -> None:
    hashes = [hash_of(), *(hash_of(*change) for change in CHANGES)]
    hashes += [hash_of(workers=9), hash_of(ranks=2)]
    assert len(set(hashes)) == len(CHANGES) + 3
    assert all(re.fullmatch("[0-9a-f]{12}", text) for text in hashes)


@pytest.mark.parametrize(
    "more",
    [
        ("--out", "elsewhere"),
        ("--name", "other"),
        ("--overwrite",),
        ("--flush-every", "7"),
        ("--ranks", "4"),
        ("--workers", "8"),
        ("--partition", "dirichlet:min_size=1,alpha=0.10"),
        ("--optimizer", "sgd:nesterov=false,momentum=0.9,weight_decay=0,lr=2e-1"),
        ("--algorithm", "elastic_averaging:alpha=0.1,period=2"),
        ("--task", "quadratic:samples=50,classes=10,dimension=3"),
        ("--steps", "400"),
    ],
)
def test_equivalent_options_keep_hash_and_texts(more: tuple[str, ...]) -> None:
    assert hash_of(*more) == hash_of()
    plain, changed = (Experiment.resolve(read([*BASE, *x]), 4) for x in ((), more))
    assert changed.texts == plain.texts


def test_resolved_parameters_are_json_with_every_default() -> None:
    params = Experiment.resolve(read([*BASE, "--workers=8"]), 4).params
    assert json.loads(json.dumps(params)) == params
    assert params["options"]["optimizer"] == {
        "lr": 0.2,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
    }
    assert (params["workers"], params["optimizer"]) == (8, "sgd:lr=0.2,momentum=0.9")


def test_data_is_refused_for_tasks_without_input() -> None:
    line = message(["--task", "digits", "--data", "d.csv"])
    assert line.startswith("--data d.csv: digits brings data of its own; tasks that read some are ")
    assert "mlp, cnn, transformer" in line
    line = message(["--task", "transformer:depth=1"])
    assert line.startswith("transformer needs --data PATH, a text file: `python -m bench.fetch")
    assert read(["--task", "mlp", "--data", "d.csv"]).data == "d.csv"
