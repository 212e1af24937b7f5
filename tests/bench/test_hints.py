"""Suggestions for unknown names and for slips in names with options."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import pytest

from bench.__main__ import programs
from bench.common.hints import SUGGESTIONS, normalised, suggestion
from bench.common.spec import UserError, option_fields, parse_spec
from bench.list import registries
from bench.runtime.options import DTYPES, TABLE

NAMES = {kind: list(registry) for kind, registry in registries().items()}
NAMES |= {"dtypes": list(DTYPES), "sides": ["ddp", "plain"]}
OPTIONS = [f"--{name.replace('_', '-')}" for name in TABLE.entries]


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("algorithms", "SGP", "push_sum"),
        ("algorithms", "FedAvg", "local_sgd"),
        ("algorithms", "EASGD", "elastic_averaging"),
        ("algorithms", "DDP", "allreduce_sgd"),
        ("algorithms", "D-PSGD", "d_psgd"),
        ("algorithms", "PushSum", "push_sum"),
        ("algorithms", "push-sum", "push_sum"),
        ("algorithms", "PUSH_SUN", "push_sum"),
        ("allreduces", "halving-doubling", "rabenseifner"),
        ("allreduces", "Ring-AllReduce", "ring"),
        ("topologies", "fully connected", "complete"),
        ("compressors", "topk", "top_k"),
        ("partitions", "non-IID", "dirichlet:alpha=0.1"),
        ("optimizers", "AdamW", "adamw"),
        ("optimizers", "RAdam", "adam"),
        ("dtypes", "fp64", "float64"),
        ("tasks", "MNIST", "mlp --data data/mnist, after `python -m bench.fetch mnist`"),
    ],
)
def test_other_names_are_known(kind: str, name: str, expected: str) -> None:
    assert suggestion(name, NAMES[kind]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("--lr", "--optimizer sgd:lr=VALUE"),
        ("--algo", "--algorithm"),
        ("--batch_size", "--batch"),
        ("--eval_every", "--eval-every"),
        ("--nepochs", "--epochs"),
    ],
)
def test_other_options_are_known(name: str, expected: str) -> None:
    assert suggestion(name, OPTIONS) == expected


def test_options_in_files_have_no_dashes() -> None:
    names = list(TABLE.entries)
    assert suggestion("lr", names) == "optimizer = 'sgd:lr=VALUE'"
    assert suggestion("nepochs", names) == "epochs"


def test_nothing_similar_has_no_suggestion() -> None:
    assert suggestion("zzzzzz", NAMES["algorithms"]) is None
    assert suggestion("", NAMES["algorithms"]) is None


def test_every_suggestion_exists_and_every_synonym_is_normalised() -> None:
    fields = [name for x in registries().values() for cls in x.values() for name in fields_of(cls)]
    programs_ = [name.partition(".")[2] for name in programs()]
    others = ["--html", "--figures", "--algorithms"]  # of bench.report and bench.collectives
    known = {*fields, *programs_, *OPTIONS, *others, *(x for some in NAMES.values() for x in some)}
    for text, names in SUGGESTIONS.items():
        assert text.partition(" ")[0].partition(":")[0] in known, text
        assert [x for x in names.split() if normalised(x) != x] == []


def fields_of(cls: type) -> list[str]:
    return list(option_fields(cls)) if is_dataclass(cls) else []


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("algorithms", "push_sum,topology=ring", "write push_sum:topology=ring"),
        ("algorithms", "push_sum topology=ring", "write push_sum:topology=ring"),
        ("algorithms", "push_sum=ring", "write push_sum:topology=ring"),
        ("algorithms", "push_sum:ring", "did you mean push_sum:topology=ring?"),
        ("algorithms", "push_sum:topology:ring", "did you mean topology=ring?"),
        ("algorithms", "d_psgd:topology=erdos_renyi,p=0.3", "write topology=erdos_renyi:p=0.3"),
        ("partitions", "dirichlet:0.1", "did you mean dirichlet:alpha=0.1?"),
        ("partitions", "dirichlet=0.1", "write dirichlet:alpha=0.1"),
        ("partitions", "dirichlet:alpha=0,1", "decimals take a point"),
        ("optimizers", "sgd:learning_rate=0.1", "(did you mean lr?)"),
    ],
)
def test_slips_in_names_with_options(kind: str, text: str, words: str) -> None:
    registry: Mapping[str, type[Any]] = registries()[kind]
    with pytest.raises(UserError) as error:
        parse_spec(text, registry, kind)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_value_of_an_option_is_in_the_suggestion() -> None:
    for argv in (["--lr", "0.05"], ["--lr=0.05"]):
        with pytest.raises(UserError, match=r"did you mean --optimizer sgd:lr=0\.05\?"):
            TABLE.read(argv)
    with pytest.raises(UserError, match=r"'momentum=0\.9' belongs to no option"):
        TABLE.read(["--optimizer", "sgd:lr=0.1,", "momentum=0.9"])
