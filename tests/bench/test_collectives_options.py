"""Command line of bench.collectives: sizes, names, and one-line error messages."""

import shlex
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.collectives import ALLREDUCES, OPERATIONS
from bench.collectives import options
from bench.collectives.config import case_hash
from bench.collectives.memory import most_bytes
from bench.collectives.options import read
from bench.common.limits import HOST, Pool
from bench.common.sizes import (
    MOST_SIZES,
    UNITS,
    format_size,
    parse_size,
    round_down,
    sizes_between,
)
from bench.common.spec import UserError

sizes = st.integers(min_value=0, max_value=2**50)


@given(sizes)
def test_sizes_survive_formatting_and_parsing(nbytes: int) -> None:
    assert parse_size(format_size(nbytes), "-b") == nbytes


@given(st.integers(0, 10**6), st.sampled_from("KMG"), st.sampled_from(["", "B", "iB", "b"]))
def test_units_are_binary_in_either_case(number: int, unit: str, tail: str) -> None:
    expected = number * UNITS[unit]
    for text in (f"{number}{unit}{tail}", f" {number}{unit.lower()}{tail} "):
        assert parse_size(text, "-b") == expected


def test_fractions_of_a_unit_are_parsed() -> None:
    assert parse_size("1.5K", "-b") == 1536
    assert parse_size("0.1M", "-b") == 2**20 // 10
    assert [format_size(n) for n in (0, 1000, 1024, 1536, 2**30)] == [
        "0",
        "1000",
        "1K",
        "1536",
        "1G",
    ]


@pytest.mark.parametrize("text", ["", "x", "-8", "8T", "K", "1e3", "8 K", "1.K", "9" * 5000, "٣K"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^-b must be a size such as 8, 64K, 4M or 1G"):
        parse_size(text, "-b")


@given(st.integers(8, 10**6), st.integers(0, 10**6), st.sampled_from([2, 3, 4, 10]), st.booleans())
def test_sizes_grow_by_the_factor_in_whole_elements(
    low: int, more: int, factor: int, wide: bool
) -> None:
    item = 8 if wide else 4
    high = low + more
    sizes_of_run = sizes_between(low, high, item, "x", factor=factor)
    assert all(n % item == 0 for n in sizes_of_run)
    assert all(a < b for a, b in pairwise(sizes_of_run))
    exact = [low * factor**k for k in range(99) if low * factor**k <= high]
    expected = dict.fromkeys(n // item * item for n in (*exact, high))
    assert sizes_of_run == tuple(expected), "the largest size is always measured"


@given(st.integers(8, 10**4), st.floats(1.01, 3))
def test_small_factors_add_at_least_one_element(low: int, factor: float) -> None:
    sizes_of_run = sizes_between(low, 4 * low, 4, "x", factor=factor)
    assert all(a < b for a, b in pairwise(sizes_of_run))
    assert sizes_of_run[0] == low // 4 * 4
    assert sizes_of_run[-1] <= 4 * low


@given(sizes.filter(bool))
def test_rounded_sizes_are_close_and_short(nbytes: int) -> None:
    down = round_down(nbytes)
    assert 0 < down <= nbytes
    assert Fraction(down, nbytes) > Fraction(1, 2)
    assert len(format_size(down)) <= len(str(nbytes))


def test_defaults_of_the_options() -> None:
    config = read([])
    assert config.sizes[0] == 8
    assert config.sizes[-1] == 32 * 2**20
    assert config.shown == config.measured == tuple(ALLREDUCES)
    assert (config.dtype, config.iterations, config.warmup) == ("float32", 20, 5)
    assert (config.ci, config.time_s, config.check, config.compat) == (0.05, 10.0, True, "")


@pytest.mark.parametrize(
    "same",
    [
        "--minbytes 64 --maxbytes 1K --stepfactor 2 -n 7 -w 3 -d double -c 0",
        "--message-size 64:1K -f 2 --iterations 7 --warmup 3 --type float64 --validation 0",
        "--message-size 64:1K:x2 --iters 7 --warmup_iters 3 --datatype MPI_DOUBLE --check 0",
        "-b64 -e=1K -f 2 -n=7 -w3 -d DOUBLE -c0",
    ],
)
def test_short_and_long_options_are_equivalent(same: str) -> None:
    expected = read(shlex.split("-b 64 -e 1K -f 2 -n 7 -w 3 -d double -c 0"))
    assert read([text.replace("=", "") for text in shlex.split(same)]) == expected
    assert expected.sizes == (64, 128, 256, 512, 1024)
    assert (expected.dtype, expected.check) == ("float64", False)


@pytest.mark.parametrize("options", ["", "-c", "-c 1", "--check", "--validation", "--check 1"])
def test_validation_is_on_by_default(options: str) -> None:
    assert read(shlex.split(options)).check


def test_one_number_as_message_size_is_the_largest() -> None:
    assert read(["--message-size", "128"]).sizes == (8, 32, 128)
    assert read(["--message-size", "8388608:"]).sizes == (2**23, 2**25)


COMMANDS: dict[str, tuple[int, ...]] = {
    "--compat osu --message-size 64": (4, 8, 16, 32, 64),
    "--compat osu -m 4:20 -i 100 -x 10 -f": (4, 8, 16, 20),
    "--compat=nccl -b 8 -e 64 -f 2 -g 1 -t 1 --op sum -n 100 -w 10 -m 1": (8, 16, 32, 64),
    "--compat nccl -b 1M -e 3M": (2**20, 2**21, 3 * 2**20),
    "--compat nccl -b 8 -e 24 -i 8": (8, 16, 24),
    "--compat nccl -b 8 -e 24 -i8": (8, 16, 24),
    "--compat nccl": (2**25,),
    "-b 8 -e 100 -f 2": (8, 16, 32, 64, 100),
}
"""Command lines of other benchmarks -> their sizes."""


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines_of_other_benchmarks_keep_their_meaning(line: str) -> None:
    config = read(shlex.split(line))
    assert config.sizes == COMMANDS[line]
    assert config.notes == ()
    if "-x" in line:
        assert (config.iterations, config.warmup, config.full) == (100, 10, True)
    osu = read(["--compat", "osu"]).sizes
    assert osu == tuple(2**k for k in range(2, 21)), "from an element to 1 MiB"


def test_a_size_below_one_element_is_rounded_up_and_noted() -> None:
    config = read(["-b", "1", "-e", "16", "-d", "double"])
    assert config.sizes == (8, 16)
    assert config.notes == ("-b 1 is below one element of float64: sizes begin at 8 bytes",)
    assert case_hash(config, 2) == case_hash(read(["-b", "8", "-e", "16", "-d", "double"]), 2)


def test_the_library_is_always_measured() -> None:
    config = read(["--algorithms", "ring,star,ring"])
    assert config.shown == ("ring", "star")
    assert config.measured == ("ring", "star", "library")
    assert read(["--algorithms", "library"]).measured == ("library",)
    assert read(["--algorithms", "ring", "--against", "gloo"]).measured == (
        *("ring", "gloo"),
        "library",
    )


def test_classic_columns_show_the_library_by_default() -> None:
    assert read(["--compat", "osu"]).measured == ("library",)
    assert read(["--compat", "osu", "--algorithms", "ring"]).shown == ("ring",)


def test_the_hash_covers_all_options_that_affect_the_numbers() -> None:
    plain = case_hash(read([]), 2)
    same = ["-b", "8", "-e", "32M", "-f", "4"]
    same += ["--compat", "osu", "--algorithms", ",".join(ALLREDUCES), "--out", "x", "--csv", "y"]
    assert case_hash(read(same), 2) == plain
    variants = [(["-n", "21"], 2), (["-d", "double"], 2), (["--seed", "1"], 2), ([], 3)]
    hashes = {case_hash(read(options), ranks) for options, ranks in variants}
    assert len(hashes | {plain}) == len(variants) + 1


MISTAKES = [
    ("-g 2", "--ngpus must be 1, got 2: a rank is one process: launch more ranks, `mpirun -n"),
    ("-t 4", "--nthreads must be 1, got 4: a rank is one process"),
    ("-o max", "--reduction must be sum, got max: the sum is measured, whose result is exact"),
    ("--compat nccl -m 20", "--agg-iters must be 1, got 20: every call is timed by itself"),
    ("--compat nccl -f 2 -i 1M", "--stepfactor and --stepbytes both set the next size"),
    ("--compat nccl -b 8 -e 2G", "--stepbytes 1M makes more than 1000 sizes from 8 to 2G: take"),
    ("-b 0", "--minbytes 0 is below one element"),
    ("-b 1K -e 512", "--maxbytes 512 is below --minbytes 1K: give -e 1K or more, or a smaller -b"),
    ("-b eight", "--minbytes must be a size such as 8, 64K, 4M or 1G"),
    ("-e 4T", "--maxbytes must be a size such as 8, 64K, 4M or 1G"),
    ("-b -8", "--minbytes must be a size"),
    ("-f 1", "--stepfactor must be a finite number > 1, got 1"),
    ("-f 0.5", "--stepfactor must be a finite number > 1, got 0.5"),
    ("-f nan", "--stepfactor must be a finite number > 1, got nan"),
    ("-f inf", "--stepfactor must be a finite number > 1, got inf"),
    ("-f two", "--stepfactor must be a number, got 'two'"),
    ("-f 1.0001", f"makes more than {MOST_SIZES} sizes from 8 to 32M: take a larger factor"),
    ("--message-size 8:64 -b 8", "--message-size 8:64 and --minbytes both set the sizes"),
    ("--message-size 8:64:x2 -f 2", "--message-size 8:64:x2 and --stepfactor both set the sizes"),
    ("--message-size 8:64:2", "--message-size must be MAX, MIN:MAX or MIN:MAX:xFACTOR"),
    ("--message-size 8:64:x2:1", "--message-size must be MAX, MIN:MAX or MIN:MAX:xFACTOR"),
    ("--algorithms rings", "unknown name in --algorithms 'rings' (did you mean ring?); known: "),
    ("--algorithms ,", "--algorithms must name one or more of star, "),
    (
        "--against glo",
        "unknown name in --against 'glo' (did you mean gloo?); known: gloo, out_of_place",
    ),
    ("-d floot", "unknown --type 'floot' (did you mean float?); known: double, float, "),
    ("-d int32", "unknown --type 'int32'"),
    ("--compat nccll", "unknown --compat 'nccll' (did you mean nccl?); known: imb, nccl, osu"),
    ("--full", "--full adds columns to --compat osu alone: give both or neither"),
    ("--tail-lat --compat imb", "--tail-lat adds columns to --compat osu alone"),
    ("-n 0", "--iterations must be >= 1, got 0"),
    ("-n many", "--iterations must be a whole number, got 'many'"),
    ("-w -1", "--warmup must be >= 0, got -1"),
    ("--ci 0", "--ci must be between 0 and 1, got 0"),
    ("--ci 1", "--ci must be between 0 and 1, got 1"),
    ("--ci nan", "--ci must be between 0 and 1, got nan"),
    ("--time 0", "--time must be a finite number > 0, got 0"),
    ("--time inf", "--time must be a finite number > 0, got inf"),
    ("-c 2", "--check must be 1 (the default) or 0, which switches it off, got '2'"),
    ("--seed -1", "--seed must be >= 0"),
    ("--ranks -2", "--ranks must be >= 0"),
    ("--name a/b", "--name must not hold a folder, got 'a/b': use --out for that"),
    ("--algoritms ring", "unknown option '--algoritms' (did you mean --algorithms?)"),
    ("-b", "expected one argument; see --help"),
]


@pytest.mark.parametrize(("options", "line"), MISTAKES, ids=[x for x, _ in MISTAKES])
def test_a_mistake_is_one_line(options: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        read(shlex.split(options))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_the_fullest_host_limits_the_size() -> None:
    pools = [Pool(HOST, 10**9)]
    result = most_bytes([("a", pools), ("a", pools), ("b", pools)], vectors=30)
    assert result is not None
    fits, use = result
    assert use.host == "a"
    assert fits == pytest.approx(0.9 * 10**9 / (2 * 3 * 10), abs=1)  # a whole number of bytes
    assert most_bytes([("a", [])], 3) is None


def test_a_cgroup_limits_the_size() -> None:
    pools = [Pool(HOST, 10**9), Pool("cgroup /job", 10**6)]
    result = most_bytes([("a", pools)], vectors=9)
    assert result is not None
    assert result[0] == 10**5
    assert str(result[1]) == "on a, where cgroup /job leaves 1 MB"


def test_operations_of_the_command_line_are_those_of_the_registry() -> None:
    assert ("allreduce", *OPERATIONS) == options.OPERATIONS
    for op, algorithms in OPERATIONS.items():
        config = read(["--op", op])
        assert config.measured == tuple(algorithms)
        assert "library" in algorithms
        assert len(algorithms) >= 3
    assert read(["--op", "allreduce"]).resolved() == read([]).resolved()
    assert case_hash(read(["--op", "broadcast"]), 2) != case_hash(read(["--op", "all_gather"]), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--op", "broadcst"], "unknown --op 'broadcst' (did you mean broadcast?); known: "),
        (
            ["--op", "broadcast", "--algorithms", "rabenseifner"],
            "unknown name in --algorithms 'rabenseifner'; known: binomial_tree, chain, ",
        ),
        (
            ["--op", "broadcast", "--compat", "osu"],
            "--compat osu is for all-reduces, got --op broadcast: leave out one of them",
        ),
        (
            ["--op", "all_gather", "--against", "gloo"],
            "--against gloo is for all-reduces, got --op all_gather: leave out one of them",
        ),
    ],
)
def test_options_that_do_not_fit_the_operation(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        read(arguments)
    assert str(error.value).startswith(message)
