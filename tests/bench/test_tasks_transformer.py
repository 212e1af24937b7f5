"""The transformer on a text: against torch's own encoder layer, and windows cut by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.func import functional_call
from torch.nn.functional import cross_entropy, layer_norm, linear

from bench.common.spec import UserError
from bench.data.protocol import Text
from bench.tasks import model
from bench.tasks.attention import CharacterProblem, decoder
from bench.tasks.transformer import Transformer, count, windows
from partitions.natural import Natural
from tests.bench.made_samples import (
    Plain,
    gradient,
    loss_and_gradient,
    parameters,
    shifted,
    starts,
)
from tests.helpers import Array

CONTEXT, WIDTH, HEADS, DEPTH = 7, 6, 2, 2
TASK = Transformer(context=CONTEXT, width=WIDTH, depth=DEPTH, heads=HEADS, held_out=0.25)
WORDS = ["the", "five", "boxing", "wizards", "jump", "quickly", "over", "my", "lazy", "dog"]
RNG = np.random.default_rng(0)
SPEECHES = [
    (name, " ".join(RNG.choice(WORDS, n)))
    for name, n in [("CLEO", 12), ("ANNA", 17), ("BERT", 3), ("CLEO", 2), ("ANNA", 31), ("CLEO", 9)]
]
TEXT = "\n\n".join(f"{name}:\n{speech}" for name, speech in [*SPEECHES, ("DORA", "")])
ALPHABET = "".join(sorted(set(TEXT)))
CHARACTERS = len(ALPHABET)
EXACT = 1e-12  # float64, sums of some dozens
BLOCK: Plain = {
    "norm1.weight": (WIDTH,),
    "norm1.bias": (WIDTH,),
    "self_attn.in_proj_weight": (3 * WIDTH, WIDTH),
    "self_attn.in_proj_bias": (3 * WIDTH,),
    "self_attn.out_proj.weight": (WIDTH, WIDTH),
    "self_attn.out_proj.bias": (WIDTH,),
    "norm2.weight": (WIDTH,),
    "norm2.bias": (WIDTH,),
    "linear1.weight": (4 * WIDTH, WIDTH),
    "linear1.bias": (4 * WIDTH,),
    "linear2.weight": (WIDTH, 4 * WIDTH),
    "linear2.bias": (WIDTH,),
}
SHAPES: Plain = {
    "character": (CHARACTERS, WIDTH),
    "place": (CONTEXT, WIDTH),
    **{f"{i}.{name}": shape for i in range(DEPTH) for name, shape in BLOCK.items()},
    "norm.weight": (WIDTH,),
    "norm.bias": (WIDTH,),
    "logits.weight": (CHARACTERS, WIDTH),
    "logits.bias": (CHARACTERS,),
}


def cut(name: str) -> tuple[list[str], list[str]]:
    """Return the training and the held-out windows of a speaker, cut by hand."""
    speech = "".join(f"{who}:\n{words}\n\n" for who, words in SPEECHES if who == name)
    every = [speech[i : i + CONTEXT + 1] for i in range(0, len(speech) - CONTEXT, CONTEXT + 1)]
    trained = len(every) - round(len(every) / 4)
    return every[:trained], every[trained:]


TRAINING = [window for name in ("ANNA", "BERT", "CLEO") for window in cut(name)[0]]
HELD_OUT = [window for name in ("ANNA", "BERT", "CLEO") for window in cut(name)[1]]


def coded(texts: list[str]) -> NDArray[np.int64]:
    """Return the windows as indices into the alphabet, (m, CONTEXT + 1)."""
    return np.array([[ALPHABET.index(character) for character in text] for text in texts])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a text of three speakers, and of one with less than a window."""
    path = tmp_path_factory.mktemp("data") / "play.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def shared(data: str) -> CharacterProblem:
    """Return the problem in float64, for tests that do not change it."""
    return TASK.load("float64", data)


def models(problem: CharacterProblem, n: int) -> Array:
    """Return different models, (n, d), with norms that have an effect."""
    return starts(problem, n) + 0.2 * np.random.default_rng(n).standard_normal((n, problem.d))


def plain(of: dict[str, torch.Tensor], codes: NDArray[np.int64]) -> torch.Tensor:
    """Return the logits (m, T, characters) by torch's masked encoder layer: codes (m, T)."""
    layer = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, 0, "gelu", batch_first=True, norm_first=True
    )
    mask = torch.nn.Transformer.generate_square_subsequent_mask(codes.shape[1], dtype=torch.float64)
    x = of["character"][torch.from_numpy(codes)] + of["place"]
    for i in range(DEPTH):
        x = functional_call(layer, {name: of[f"{i}.{name}"] for name in BLOCK}, (x, mask))
    x = layer_norm(x, (WIDTH,), of["norm.weight"], of["norm.bias"])
    return linear(x, of["logits.weight"], of["logits.bias"])


@pytest.mark.parametrize("workers", [1, 3])
def test_gradients_are_those_of_torch_s_encoder(shared: CharacterProblem, workers: int) -> None:
    x = models(shared, workers)
    indices = np.random.default_rng(workers).integers(0, len(TRAINING), (workers, 4))
    losses, g = gradient(shared, x, indices)
    codes = coded(TRAINING)
    for row, at, loss, result in zip(x, indices, losses, g, strict=True):
        of = parameters(row, SHAPES)
        logits = plain(of, codes[at, :-1])
        expected, slope = loss_and_gradient(logits.flatten(0, 1), codes[at, 1:].ravel(), of)
        np.testing.assert_allclose(loss, expected, atol=EXACT)
        np.testing.assert_allclose(result, slope, atol=EXACT)
        alone, same = gradient(shared, row[None].copy(), at[None])
        np.testing.assert_allclose(alone[0], loss, atol=EXACT)
        np.testing.assert_allclose(same[0], result, atol=EXACT)


def test_parts_of_the_gradient_are_the_gradient(shared: CharacterProblem) -> None:
    x, at = models(shared, 1), np.arange(4)[None]
    g, parts = np.full_like(x, np.nan), []
    learner = shared.learner(x, g)
    learner.gradient(learner.fetch(at), lambda lo, hi: parts.append((lo, hi, g[0, lo:hi].copy())))
    whole = gradient(shared, x, at)[1][0]
    assert len(parts) > 2 * DEPTH
    assert [hi for _, hi, _ in parts] == [shared.d, *(lo for lo, _, _ in parts[:-1])]
    assert parts[-1][0] == 0
    for lo, hi, part in parts:
        np.testing.assert_allclose(part, whole[lo:hi], atol=EXACT)


@pytest.mark.parametrize("elements", [1, 2**22])
def test_scores_are_those_of_torch_s_encoder_in_nats_and_bits(
    data: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "ELEMENTS", elements)
    problem, codes = TASK.load("float64", data), coded(HELD_OUT)
    x = models(problem, 2)
    for row, nats, bits in zip(x, *problem.evaluate(x), strict=True):
        logits = plain(parameters(row, SHAPES), codes[:, :-1])
        loss = cross_entropy(logits.flatten(0, 1), torch.from_numpy(codes[:, 1:].ravel())).item()
        np.testing.assert_allclose(nats, loss, atol=EXACT)
        np.testing.assert_allclose(bits, loss * math.log2(math.e), atol=EXACT)
    assert problem.metric.reached(1.5, target=1.6)  # fewer bits are better


def test_later_characters_have_no_effect(shared: CharacterProblem) -> None:
    codes = torch.from_numpy(coded(TRAINING[:5])[:, :-1])
    with torch.no_grad():
        before = shared.module(codes)
        for place in range(CONTEXT):
            changed = codes.clone()
            changed[:, place] = (changed[:, place] + 1) % CHARACTERS
            after = shared.module(changed)
            assert torch.equal(after[:, :place], before[:, :place])
            assert (after[:, place:] != before[:, place:]).any(2).all()


def test_windows_are_those_of_each_speaker(shared: CharacterProblem) -> None:
    inputs, targets = shared.training(np.arange(shared.samples.size))
    np.testing.assert_array_equal(inputs, coded(TRAINING)[:, :-1])
    np.testing.assert_array_equal(targets, coded(TRAINING)[:, 1:])
    np.testing.assert_array_equal(shared._held_out[0], coded(HELD_OUT)[:, :-1])
    np.testing.assert_array_equal(shared._held_out[1], coded(HELD_OUT)[:, 1:])
    assert shared.names == ["ANNA", "BERT", "CLEO"]  # DORA has less than a window
    assert (shared.classes, shared.samples.classes) == (CHARACTERS, 3)
    speakers = np.repeat(np.arange(3), [len(cut(name)[0]) for name in shared.names])
    np.testing.assert_array_equal(shared.samples.labels, speakers)
    np.testing.assert_array_equal(shared.samples.groups, speakers)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30)), min_size=1, max_size=12),
    st.integers(2, 9),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_windows_never_mix_speakers_and_cover_all_but_the_tails(
    speeches: list[tuple[int, int]], length: int, held_out: float, most: int
) -> None:
    speaker = np.repeat(*np.array(speeches, np.int32).T)
    place = np.arange(len(speaker), dtype=np.int32)  # a code is a place: each once
    text = Text(place, "", speaker, [f"speaker {i}" for i in range(5)])
    speech = {i: place[speaker == i] for i in range(5)}
    many = {i: len(speech[i]) // length for i in range(5) if len(speech[i]) >= length}
    able = sorted(sorted(many, key=lambda i: -len(speech[i]))[: most or 5])
    tested = [min(round(held_out * many[i]), many[i] - 1) for i in able]
    if len(able) < most or not any(tested):
        with pytest.raises(ValueError, match=r"take "):
            windows(text, length, held_out, most)
        return
    result = windows(text, length, held_out, most)
    assert result.names == [f"speaker {i}" for i in able]
    np.testing.assert_array_equal(np.bincount(result.held_out.labels, minlength=len(able)), tested)
    for label, i in enumerate(able):
        each = [t.rows(np.flatnonzero(t.labels == label)) for t in (result.train, result.held_out)]
        np.testing.assert_array_equal(np.concatenate(each).ravel(), speech[i][: many[i] * length])
    for table in (result.train, result.held_out):
        np.testing.assert_array_equal(table.groups, table.labels)
        assert table.shape == (length,)


def test_workers_hold_the_windows_of_their_speakers(data: str) -> None:
    problem = TASK.load("float64", data)
    shards = Natural().split(problem.samples, 3, np.random.default_rng(0))
    whole = [problem.samples.labels[shard] for shard in shards]
    assert sorted(int(labels[0]) for labels in whole if len(set(labels)) == 1) == [0, 1, 2]
    x = models(problem, 1)
    chosen = [np.random.default_rng(i).choice(shard, 4) for i, shard in enumerate(shards[:2])]
    before = [gradient(problem, x, shard[None]) for shard in chosen]
    places = problem.hold(range(2), chosen)
    assert len(problem.inputs) == len(np.unique(chosen))
    for shard, at, (losses, g) in zip(chosen, places, before, strict=True):
        np.testing.assert_array_equal(problem.inputs[at], coded(TRAINING)[shard, :-1])
        assert problem.inputs_at(at) is None
        after, slope = gradient(problem, x, at[None])
        np.testing.assert_array_equal(after, losses)
        np.testing.assert_array_equal(slope, g)


def test_it_learns_more_than_bigrams(tmp_path: Path) -> None:
    path = tmp_path / "abca.txt"
    path.write_text("abca" * 60)
    problem = Transformer(context=4, width=8, depth=1, heads=2).load("float32", str(path))
    x, everything = starts(problem, 1), np.arange(problem.samples.size)[None]
    for _ in range(150):
        x -= 0.5 * gradient(problem, x, everything)[1]
    # Half of the characters are an a, followed by a or b with equal probability: bigrams leave
    # half a bit a character. A longer context leaves doubt about the first of a window only.
    assert 0.1 < problem.evaluate(x)[1][0] < 0.4


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 70))
def test_the_number_of_parameters_equals_torch(
    half: int, depth: int, context: int, alphabet: int
) -> None:
    module = decoder(alphabet, context, 2 * half, depth, heads=2)
    assert count(2 * half, depth, context, alphabet) == sum(p.numel() for p in module.parameters())
    with torch.no_grad():
        result = module(torch.zeros(2, context, dtype=torch.int64))
    assert result.shape == (2, context, alphabet)


@pytest.mark.parametrize("heads", [1, 3])
def test_the_option_parameters_sets_the_smallest_multiple_of_heads(data: str, heads: int) -> None:
    problem = Transformer(context=CONTEXT, heads=heads, parameters=3000).load("float32", data)
    sizes = [count(width, 2, CONTEXT, CHARACTERS) for width in range(heads, 99, heads)]
    assert problem.d == min(size for size in sizes if size >= 3000)
    assert problem.initial(0).shape == (problem.d,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "context must be >= 1, got 0"),
        ({"width": 0}, "width must be >= 1, got 0"),
        ({"depth": 0}, "depth must be >= 1, got 0"),
        ({"heads": -1}, "heads must be >= 1, got -1"),
        ({"speakers": -1}, "speakers must be >= 0, got -1"),
        ({"heads": 5}, "width must be a multiple of heads=5, got 64: take 60 or 65"),
        ({"width": 3}, "width must be a multiple of heads=4, got 3: take 4"),
        (
            {"parameters": 1000, "width": 32},
            "parameters=1000 sets the width: leave width=32 out",
        ),
        ({"held_out": 1.0}, "held_out must be in (0, 1), got 1.0"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Transformer(**options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": len(TEXT)}, "the text has 0 windows of "),
        ({"held_out": 0.001}, f"the text has {len(TRAINING + HELD_OUT)} windows of 8 characters"),
        ({"speakers": 4}, "speakers=4: the text has 3 with 8 characters or more, one window:"),
    ],
)
def test_a_text_that_is_too_short_is_refused(
    data: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Transformer(**{"context": CONTEXT} | options).load("float32", data)
    assert str(error.value).startswith(message)
    assert ": take " in str(error.value)


def test_features_and_altered_characters_are_refused(shared: CharacterProblem) -> None:
    with pytest.raises(UserError, match=r"^transformer needs --data FILE: a text, .*shakespeare"):
        Transformer().load("float32")
    with pytest.raises(ValueError, match=r"^characters cannot be altered: take "):
        shared.hold(range(1), [np.arange(3)], shifted)
    with pytest.raises(ValueError, match=r"^characters are not features .*: partition by "):
        shared.features()
