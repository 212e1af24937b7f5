"""A loop of one's own in one process: mistakes, closures, buffers, scores, and the result file."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI

from bench.common.own import user_traceback
from bench.common.spec import UserError
from bench.loop import Attachment, attach
from bench.loop.scores import Scoring
from bench.loop.settings import optimizer_text
from bench.results.reader import read
from bench.results.validation import flaws
from bench.runtime import repeat
from tests.launching import launch, own_lines

Linear = torch.nn.Linear
SGD = torch.optim.SGD


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the excepthook, which `attach` replaces."""
    monkeypatch.setattr("sys.excepthook", lambda *_: None)


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU(), Linear(5, 3))


def one(model: torch.nn.Module, optimizer: Any = None, *args: Any, **options: Any) -> Attachment:
    """Attach a module on one rank."""
    chosen = optimizer or SGD(model.parameters(), lr=0.1, momentum=0.9)
    return attach(model, chosen, *args, comm=MPI.COMM_SELF, **options)


def inputs(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(step)
    return torch.randn(8, 4, generator=rng), torch.randint(3, (8,), generator=rng)


def loss_of(model: torch.nn.Module, step: int) -> torch.Tensor:
    x, y = inputs(step)
    return torch.nn.functional.cross_entropy(model(x), y)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def plain(steps: int) -> torch.Tensor:
    """Return the weights after steps of torch alone."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights(model)


@pytest.mark.parametrize("way", ["loss", "backward", "zero_grad", "zeros", "twice"])
def test_each_closure_gives_the_steps_of_torch(way: str) -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)

    def closure(step: int) -> Any:
        if way == "loss":
            return loss_of(model, step)
        if way in ("zero_grad", "zeros"):
            optimizer.zero_grad(set_to_none=way == "zero_grad")
        loss = loss_of(model, step)
        if way == "twice":  # two halves of a loss accumulate
            torch.autograd.backward(loss / 2, retain_graph=True)
            torch.autograd.backward(loss / 2)
        else:
            loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with closing(one(model, optimizer)) as exchange:
        losses = [exchange.step(lambda i=step: closure(i)) for step in range(6)]  # type: ignore[misc]
    torch.testing.assert_close(weights(model), plain(6))
    assert losses[0] == pytest.approx(loss_of(network(), 0).item())


def test_overlap_reports_the_gradient_in_parts() -> None:
    model = network()
    with closing(one(model, None, "overlapped_allreduce_sgd")) as exchange:
        for step in range(6):
            exchange.step(lambda i=step: loss_of(model, i))  # type: ignore[misc]
    torch.testing.assert_close(weights(model), plain(6))


def shared() -> torch.nn.Module:
    model, memory = torch.nn.Sequential(Linear(4, 4), Linear(4, 2)), torch.zeros(20)
    model[0].weight = torch.nn.Parameter(memory[:16].view(4, 4))
    model[1].weight = torch.nn.Parameter(memory[12:].view(2, 4))
    return model


def mixed() -> torch.nn.Module:
    return torch.nn.Sequential(Linear(4, 4), Linear(4, 2).double())


def half_updated(model: torch.nn.Module) -> torch.optim.Optimizer:
    return SGD(next(model.children()).parameters(), lr=0.1)


def other_updated(model: torch.nn.Module) -> torch.optim.Optimizer:
    return SGD([torch.ones(1)], lr=1)


@pytest.mark.parametrize(
    ("model", "optimizer", "options", "words"),
    [
        (shared(), None, {}, "parameters 0.weight and 1.weight share memory"),
        (mixed(), None, {}, "0.weight is float32 and 1.weight is float64"),
        (Linear(2, 2).bfloat16(), None, {}, "parameters are bfloat16"),
        (Linear(2, 2).requires_grad_(False), other_updated, {}, "nothing to train"),
        (network(), half_updated, {}, "the optimizer does not update 1.weight, 1.bias, 3.weight"),
        (Linear(2, 2), other_updated, {}, "does not update weight, bias"),
        (network(), lambda m: torch.optim.LBFGS(m.parameters()), {}, "LBFGS evaluates the loss"),
        (network(), None, {"algorithm": "push_sun"}, "did you mean push_sum?"),
        (network(), None, {"algorithm": "ad_psgd"}, "take steps at their own pace"),
        (network(), None, {"drop": 0.1}, "drop=0.1: allreduce_sgd needs every message"),
        (network(), None, {"straggler": "worker=3"}, "worker must be below the number of ranks"),
        (network(), None, {"warmup": -1}, "--warmup must be >= 0, got -1"),
        (network(), None, {"link": "latency=2m"}, "link: latency must be a time such as 2ms"),
        (network(), None, {"link": "5ms"}, "link: write key=value, got '5ms': did you mean latenc"),
        (network(), None, {"link": "wire"}, "unknown link 'wire'; known: ethernet_1g"),
        (network(), None, {"clock": "model"}, "clock='model' needs the time of a gradient"),
        (network(), None, {"wire": "bf8"}, "unknown wire 'bf8'; known: bf16"),
        (network(), None, {"algorithm": "push_sum", "wire": "bf16"}, "wire bf16: rows of push_sum"),
        (network().double(), None, {"wire": "bf16"}, "wire bf16 rounds float32, got dtype float64"),
        (network(), None, {"compute": "1ms"}, "compute='1ms' is the time of a gradient under the"),
        (
            network(),
            None,
            {"clock": "model", "compute": "1m"},
            "compute: time must be a time such as",
        ),
    ],
)
def test_mistakes_are_one_line(
    model: torch.nn.Module, optimizer: Any, options: dict[str, Any], words: str
) -> None:
    chosen = optimizer(model) if callable(optimizer) else optimizer
    with pytest.raises(UserError) as error:
        one(model, chosen, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_stranger_in_the_optimizer_is_refused() -> None:
    model = network()
    optimizer = SGD([*model.parameters(), torch.nn.Parameter(torch.ones(7))], lr=1)
    with pytest.raises(UserError, match=r"of shape \(7,\) that is not in the module"):
        one(model, optimizer)


@pytest.mark.parametrize(
    ("closure", "words"),
    [
        (lambda m: None, "the closure of step() returned NoneType"),
        (lambda m: m(torch.ones(2, 4)), "a tensor of shape (2, 3)"),
        (lambda m: m(torch.ones(2, 4)).sum().detach(), "a tensor without a gradient"),
        (lambda m: next(m.children())(torch.ones(2, 4)).sum(), "1.weight, 1.bias, 3.weight"),
    ],
)
def test_losses_without_a_gradient_are_refused(closure: Callable[..., Any], words: str) -> None:
    model = network()
    exchange = one(model)
    with pytest.raises(UserError) as error:
        exchange.step(lambda: closure(model))
    assert words in str(error.value)


def test_unused_parameters_are_allowed_on_request() -> None:
    model = network()
    before = weights(model)
    with closing(one(model, SGD(model.parameters(), lr=0.1), unused=True)) as exchange:
        exchange.step(lambda: next(model.children())(torch.ones(2, 4)).sum())
    after = weights(model)
    assert (after != before).nonzero().max() < 25  # only the first layer, 4 * 5 + 5
    assert (after != before).any()


def test_tied_parameters_are_one() -> None:
    model = torch.nn.Sequential(Linear(4, 4), torch.nn.ReLU(), Linear(4, 4))
    model[2].weight = model[0].weight
    with closing(one(model)) as exchange:
        exchange.step(lambda: model(torch.ones(2, 4)).sum())
        assert model[2].weight is model[0].weight
    assert weights(model).numel() == 16 + 4 + 4


def test_frozen_parameters_keep_their_values() -> None:
    model = network()
    first = next(model.children()).requires_grad_(False)
    before = weights(first)
    with closing(one(model)) as exchange:
        exchange.step(lambda: loss_of(model, 0))
    torch.testing.assert_close(weights(first), before, rtol=0, atol=0)


def test_the_mean_of_one_rank_is_its_model() -> None:
    model = network()
    with closing(one(model)) as exchange:
        exchange.step(lambda: loss_of(model, 0))
        mean = exchange.model_of_the_mean()
        exchange.average_buffers()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(mean.state_dict()[name], value, rtol=0, atol=0)
        exchange.step(lambda: loss_of(model, 1))
    assert (weights(mean) != weights(model)).any(), "the copy has memory of its own"


def test_evaluations_leave_modes_and_random_numbers_as_they_are() -> None:
    model = network()
    with closing(one(model)) as exchange:
        exchange.step(lambda: loss_of(model, 0))
        next(iter(model.children())).eval()
        modes, state = [m.training for m in model.modules()], torch.random.get_rng_state()

        def score(module: torch.nn.Module) -> dict[str, float]:
            assert not any(m.training for m in module.modules())
            return {"loss": float(torch.rand(1))}

        exchange.evaluate(score)
        assert [m.training for m in model.modules()] == modes
        assert (torch.random.get_rng_state() == state).all()


@pytest.mark.parametrize("scores", [3.0, {}, {"a": 1.0, "b": 2.0}, None])
def test_scores_have_a_loss_and_at_most_one_metric(scores: Any) -> None:
    with pytest.raises(UserError, match="the score of evaluate"):
        Scoring(lambda module: scores, "max")(network())


def test_the_result_is_one_of_the_suite(tmp_path: Path) -> None:
    model = network()
    with closing(one(model, None, "local_sgd:period=3", batch=8, warmup=2, task="mine")) as e:
        for step in range(12):
            e.step(lambda i=step: loss_of(model, i))  # type: ignore[misc]
            if step == 5:
                e.evaluate(lambda m: {"accuracy": 0.25 if m is model else 0.5})
        path = e.save(tmp_path / "folder" / "run")
        with pytest.raises(RuntimeError, match=r"step\(\) after save\(\)"):
            e.step(lambda: loss_of(model, 12))
    assert path == tmp_path / "folder" / "run.h5"
    assert flaws(path) == []
    run = read(path)
    assert run.row().task == "mine"
    assert run.attributes["optimizer"] == "torch.SGD:lr=0.1,momentum=0.9"
    assert run.attributes["algorithm"] == "local_sgd:period=3"
    assert run.evals["step"].tolist() == [6, 12]
    assert run.evals["samples"].tolist() == [48, 96]
    assert run.evals["metric"].tolist() == [0.5, 0.5]
    assert run.evals["metric_mean"].tolist() == [0.25, 0.25]
    assert len(run.train["step"]) == 12
    assert run.train["flags"].tolist() == [3, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    with pytest.raises(UserError, match="start its script mine again"):
        repeat.settings(path)


def test_the_result_without_evaluations_has_the_training_loss(tmp_path: Path) -> None:
    model = network()
    with closing(one(model)) as exchange:
        loss = exchange.step(lambda: loss_of(model, 0))
        run = read(exchange.save(tmp_path / "run.h5"))
    assert run.attributes["metric_name"] == "training loss"
    assert run.evals["metric"].tolist() == [pytest.approx(loss)]


@pytest.mark.parametrize("overlap", [False, True])
def test_the_model_clock_gives_the_times(tmp_path: Path, overlap: bool) -> None:
    """The second algorithm reports parts of a gradient during the backward pass."""
    algorithm, model = "overlapped_allreduce_sgd" if overlap else "allreduce_sgd", network()
    clock = {"clock": "model", "compute": "10ms", "straggler": "worker=0,factor=3"}
    with closing(one(model, None, algorithm, **clock)) as exchange:
        for step in range(4):
            exchange.step(lambda i=step: loss_of(model, i))  # type: ignore[misc]
        run = read(exchange.save(tmp_path / "run.h5"))
    assert (run.row().clock, run.attributes["compute_s"]) == ("model", 0.01)
    assert run.row().elapsed_s == pytest.approx(4 * 0.03, rel=1e-12)
    assert flaws(tmp_path / "run.h5") == []
    plain = one(network())
    with closing(plain):
        for step in range(4):
            plain.step(lambda i=step: loss_of(plain._model, i))  # type: ignore[misc]
        other = read(plain.save(tmp_path / "wall.h5"))
    if not overlap:
        assert run.attributes["parameters_sha256"] == other.attributes["parameters_sha256"]
    assert "clock" not in json.loads(str(other.attributes["params_json"]))


def test_a_place_that_cannot_be_written_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = network()
    with closing(one(model)) as exchange:
        exchange.step(lambda: loss_of(model, 0))
        for place, words in (
            ("file/run", "file is no folder): give a file in another"),
            ("a/", "a folder"),
        ):
            with pytest.raises(UserError, match=re.escape(words)):
                exchange.save(f"{tmp_path}/{place}")
        exchange.step(lambda: loss_of(model, 1))
        assert read(exchange.save(tmp_path / "run")).row().steps == 2


def test_diverged_runs_are_marked(tmp_path: Path) -> None:
    model = network()
    with closing(one(model)) as exchange:
        exchange.step(lambda: loss_of(model, 0) * np.inf)
        assert read(exchange.save(tmp_path / "run.h5")).status == "diverged"


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("SGD", {"lr": 0.1}, "torch.SGD:lr=0.1"),
        ("SGD", {"lr": 1e-3}, "torch.SGD:lr=0.001"),
        (
            "AdamW",
            {"betas": (0.8, 0.99), "amsgrad": True},
            "torch.AdamW:lr=0.001,betas=0.8/0.99,amsgrad=true",
        ),
    ],
)
def test_optimizers_are_named_by_their_options(
    kind: str, options: dict[str, Any], text: str
) -> None:
    assert optimizer_text(getattr(torch.optim, kind)(network().parameters(), **options)) == text


def test_tracebacks_keep_the_frames_of_the_user() -> None:
    model = network()
    exchange = one(model)

    code = compile("def closure():\n    raise KeyError('mistake')\n", "mine.py", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.raises(KeyError) as error:
        exchange.step(names["closure"])
    shown = user_traceback(error.value)
    assert 'File "mine.py", line 2, in closure' in shown
    assert "attachment.py" not in shown


UNEVEN = """
import sys, torch
from mpi4py import MPI
from bench.loop import attach
comm = MPI.COMM_WORLD
model = torch.nn.Linear(4, 2)
exchange = attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
for step in range(5 + 2 * comm.rank):
    def closure():
        if sys.argv[1] == "raises" and comm.rank == 1 and step == 3:
            raise KeyError("own mistake")
        return model(torch.ones(1, 4)).sum()
    exchange.step(closure)
exchange.save(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("way", "code", "line"),
    [
        ("uneven", 2, "error: rank 1 is at step 6, rank 0 called save() after 5"),
        ("raises", 1, "error: rank 1 of 2: KeyError: 'own mistake'"),
    ],
)
def test_loops_that_end_apart_end_the_job(tmp_path: Path, way: str, code: int, line: str) -> None:
    script = tmp_path / "uneven.py"
    script.write_text(UNEVEN)
    result = launch(2, str(script), way, str(tmp_path / "x.h5"))
    assert result.returncode == code
    lines = own_lines(result.stderr)
    assert any(x.startswith(line) for x in lines), result.stderr
    assert not (tmp_path / "x.h5").exists()
    assert not any("bench/loop" in x for x in lines), "frames of the suite"
