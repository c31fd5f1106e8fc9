"""Training ends where it says it does: exact resume, kept best weights, seeds, clear stops."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmlib import missing, synthetic
from mmlib.missing.protocols import Patterns
from mmlib.models.base import Prediction, System
from mmlib.models.catalogue import MODELS
from mmlib.names import DataError
from mmlib.training import checkpoint
from mmlib.training.evaluate import evaluate, predict
from mmlib.training.fit import TrainingError, _Options, _Run, fit

ROWS = {"train": 200, "valid": 60, "test": 60}


@pytest.fixture(scope="module")
def films():
    return synthetic.like("mmimdb", dim=16).sample(ROWS, 0)


def simc(data, **arguments):
    return MODELS["simc"].for_data(data, hidden=16, heads=2, **arguments)


def train(system, data, **arguments):
    settings = {"epochs": 3, "batch_size": 16, "lr": 1e-3, "progress": False, **arguments}
    return fit(system, data, "complex_20_40_40", **settings)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_same_seed_same_weights_other_seed_others(films):
    one, two, other = simc(films), simc(films), simc(films)
    train(one, films, seed=5)
    train(two, films, seed=5)
    train(other, films, seed=6)
    assert same(one, two)
    assert not same(one, other)


def test_callers_random_numbers_are_untouched(films):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(simc(films), films, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_on_validation_is_kept(films):
    system = simc(films)
    history = train(system, films, epochs=12, lr=3e-3)
    scores = history.frame.query("split == 'valid'")["value"].tolist()
    assert history.best_score == max(scores) and scores.index(max(scores)) == history.best_epoch
    assert evaluate(system, films, "complex_20_40_40", "valid")["map"] == history.best_score


def test_patience_stops(films):
    history = train(simc(films), films, epochs=200, lr=1e-2, patience=3)
    last = history.frame["epoch"].max()
    assert last == history.best_epoch + 3 < 199


def epochs_of(scores, monkeypatch, films, **options):
    """Training in which validation gives these scores, epoch by epoch: the history and the learning rate of each epoch."""
    given, seen, step = iter([0.1, *scores]), [], torch.optim.Adam.step  # the prior, the epochs
    monkeypatch.setattr(_Run, "_score", lambda self, logits: next(given))
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: seen.append(self.param_groups[0]["lr"]) or step(self))
    history = train(simc(films), films, batch_size=200, lr=1.0, epochs=len(scores), **options)
    return history, seen


def test_patience_counts_from_the_moment_the_prior_is_beaten(films, monkeypatch):
    history, rates = epochs_of([0.05] * 8 + [0.2] * 9, monkeypatch, films, patience=3)
    assert len(rates) == 12 and history.best_epoch == 8 and history.flags == []


def test_plateau_lowers_the_rate_twice_then_ends(films, monkeypatch):
    history, rates = epochs_of([0.2, 0.2, 0.2, 0.3] + [0.2] * 20, monkeypatch, films, patience=2, decay="plateau")
    assert rates == pytest.approx([1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04]) and history.best_epoch == 3


def test_each_flag_is_set_where_it_is_due(films, monkeypatch):
    short, _ = epochs_of([0.2, 0.3, 0.4], monkeypatch, films)
    assert short.flags == [("joint", "limit")] and short.flagged == "limit"
    monkeypatch.undo()
    unlearned, _ = epochs_of([0.1] * 20, monkeypatch, films)
    assert unlearned.flags == [("joint", "at_prior")]
    monkeypatch.undo()
    long, _ = epochs_of([0.2, 0.3] + [0.2] * 18, monkeypatch, films)
    assert long.flags == [] and long.flagged == ""


def test_a_fusion_stage_that_is_trained_too_short_is_below_its_part():
    clips = synthetic.like("iemocap", dim=8, length=1).sample({"train": 400, "valid": 200, "test": 50}, 0)
    system = MODELS["admc"].for_data(clips, d=16, adn=False, fusion_layers=1)
    epochs = {"itfn": 30, "mf": 1}
    history = fit(system, clips, "complete", epochs=epochs, lr={"itfn": 3e-3, "mf": 1e-6}, progress=False)
    flags = dict(reversed(flag) for flag in history.flags if flag[0] == "mf text")
    assert set(flags) >= {"below_part", "limit"} and "below_part (mf text)" in history.flagged


@pytest.mark.parametrize("lost, won, below", [(0, 0, False), (20, 12, False), (20, 0, True), (90, 30, True)])
def test_a_fusion_stage_is_below_its_part_only_beyond_the_noise_of_the_rows(lost, won, below):
    """Of 200 rows the part has 140 right; fusion loses some of these and wins others. By hand: 20 - 12 rows are 4 points of
    accuracy with a standard error of sqrt(20 + 12) / 200 = 2.8 points; 20 - 0 are 10 with 2.1; 90 - 30 are 30 with 4.6."""
    clips = synthetic.like("iemocap", dim=4, length=1).sample({"train": 200, "valid": 200, "test": 50}, 0)
    clips = replace(clips, target=(torch.arange(450) % 4).to(clips.target.dtype))  # ua is accuracy
    run = _Run(
        MODELS["admc"].for_data(clips, d=8),
        clips,
        None,
        None,
        _Options({}, {}, 0, 32, "none", 0.0, None, 0.0, False, False, "ua", None),
        None,
    )
    wrong = torch.nn.functional.one_hot((clips.target[clips.rows("valid")] + 1) % 4, 4).float()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    part, fusion = (torch.zeros(200, dtype=torch.bool) for _ in range(2))
    part[order[:140]] = True
    fusion[order[lost : 140 + won]] = True
    run.logits = {
        k: torch.where(right[:, None], wrong.roll(-1, 1), wrong) for k, right in {"p": part, "f": fusion}.items()
    }
    run.prior = 0.25
    assert run._score(run.logits["p"]) == pytest.approx(0.7, abs=0.02) and run._is_below("f", "p") == below


def test_steps_limit_every_stage_in_whole_epochs(films):
    history = train(simc(films, schedule="two_stage"), films, steps=20, batch_size=16)  # 13 steps per epoch
    assert history.frame.groupby("stage")["epoch"].nunique().to_dict() == {"simulators": 2, "task": 2}


def test_the_validation_loss_can_stop_training(films):
    history = train(simc(films), films, epochs=12, lr=3e-3, monitor="loss")
    scores = history.frame.query("split == 'valid'")["value"].tolist()
    assert history.best_score == min(scores)


def test_balanced_gives_the_system_its_class_weights():
    clips = synthetic.like("iemocap", dim=4, length=1).sample(ROWS, 0)
    system = MODELS["fill"].for_data(clips)
    fit(system, clips, "complete", epochs=1, balanced=True, progress=False)
    count = torch.bincount(clips.target[clips.rows("train")])
    assert torch.allclose(system.class_weight, 200 / (4 * count))


def test_lower_is_better_for_mae():
    clips = synthetic.like("mosi", dim=4, length=3).sample(ROWS, 0)
    history = fit(MODELS["fill"].for_data(clips), clips, "patterns", epochs=4, progress=False)
    assert history.metric == "mae"
    assert history.best_score == min(history.frame.query("split == 'valid'")["value"])


@pytest.mark.parametrize("schedule", ["joint", "two_stage"])
@pytest.mark.parametrize("stop_after", [5, 13, 26, 31])
def test_interrupted_anywhere_ends_the_same(films, tmp_path, monkeypatch, schedule, stop_after):
    decay = "linear" if schedule == "two_stage" else "none"
    straight = simc(films, schedule=schedule)
    expected = train(straight, films, decay=decay)
    # A checkpoint after every step, so that the interruption falls inside an epoch.
    monkeypatch.setattr(checkpoint, "SECONDS", -1.0)
    step, count = _Run._train_step, [0]

    def failing(self, *arguments):
        if count[0] == stop_after:
            raise KeyboardInterrupt
        count[0] += 1
        step(self, *arguments)

    def counted(self, *arguments):
        count[0] += 1
        step(self, *arguments)

    monkeypatch.setattr(_Run, "_train_step", failing)
    with pytest.raises(KeyboardInterrupt):
        train(simc(films, schedule=schedule), films, folder=tmp_path, decay=decay)
    monkeypatch.setattr(_Run, "_train_step", counted)
    count[0] = 0
    resumed = simc(films, schedule=schedule)
    history = train(resumed, films, folder=tmp_path, decay=decay)
    assert same(straight, resumed)
    assert count[0] == expected.steps - stop_after, "what was done is not done again"
    assert history.rows == expected.rows and history.best_epoch == expected.best_epoch
    again = simc(films, schedule=schedule)
    assert train(again, films, folder=tmp_path, decay=decay).rows == expected.rows, (
        "a finished run is not trained again"
    )
    assert same(straight, again)


@pytest.mark.parametrize("passing, places", [(0.1, []), (4.0, [12, 24, 36, 48, 60, 72])])
def test_short_epochs_are_not_spent_on_checkpoints(films, tmp_path, monkeypatch, passing, places):
    """Ten epochs of two steps, each of so many seconds: a file whenever ten seconds have passed, and one at the end."""
    now, files, save = [0.0], [], checkpoint.save_file
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(checkpoint, "save_file", lambda *arguments: (files.append(now[0]), save(*arguments)))
    step = _Run._train_step

    def slow(self, *arguments):
        now[0] += passing
        step(self, *arguments)

    monkeypatch.setattr(_Run, "_train_step", slow)
    train(simc(films), films, folder=tmp_path, epochs=10, batch_size=100)
    assert files == [*places, pytest.approx(20 * passing)]


SCRIPT = textwrap.dedent("""
    import sys
    from mmlib import synthetic
    from mmlib.models import MODELS
    from mmlib.training import checkpoint, fit
    checkpoint.SECONDS = 0.05
    films = synthetic.like("mmimdb", dim=16).sample({"train": 200, "valid": 60, "test": 60}, 0)
    system = MODELS["simc"].for_data(films, hidden=16, heads=2)
    fit(system, films, "complex_20_40_40", epochs=30, batch_size=16, folder=sys.argv[1], progress=False)
""")


@pytest.mark.slow
def test_kill_9_and_resume_is_bit_for_bit(films, tmp_path):
    def start(folder):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, folder])

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(simc(films), films, epochs=30, folder=whole)  # as SCRIPT does
    for _ in range(2):
        process = start(killed)
        deadline = time.monotonic() + 60
        before = (killed / "checkpoint.safetensors").stat().st_mtime_ns if killed.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            file = killed / "checkpoint.safetensors"
            if file.exists() and file.stat().st_mtime_ns > before:
                break
            time.sleep(0.005)
        time.sleep(0.1)
        assert process.poll() is None, "it must be killed while it trains"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(killed).wait() == 0
    a, b = (load_file(f / "checkpoint.safetensors") for f in (whole, killed))
    weights = [k for k in a if k.startswith(("system.", "best."))]
    assert weights and all(torch.equal(a[k], b[k]) for k in weights)


def test_a_folder_of_another_run_is_refused(films, tmp_path):
    train(simc(films), films, folder=tmp_path)
    with pytest.raises(TrainingError, match="belongs to another run: lr was .*0.001.*, is .*0.002.*another folder"):
        train(simc(films), films, folder=tmp_path, lr=2e-3)
    with pytest.raises(TrainingError, match="arguments"):
        train(simc(films, alpha=0.1), films, folder=tmp_path)


def test_a_truncated_checkpoint_is_named(films, tmp_path):
    train(simc(films), films, folder=tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        train(simc(films), films, folder=tmp_path)


def test_a_loss_that_is_not_finite_names_its_rows(films):
    class Broken(MODELS["simc"]):
        def loss(self, batch, stage):
            terms = super().loss(batch, stage)
            return {**terms, "task": terms["task"] / (batch.index != 17).all()}

    system = Broken.for_data(films, hidden=16, heads=2)
    with pytest.raises(TrainingError, match=r"loss 'task' is not finite in stage 'joint', epoch 0.*train-000017"):
        train(system, films)


def test_clear_errors_before_training(films, monkeypatch):
    monkeypatch.setattr(_Run, "_train_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(TrainingError, match=r"epochs names the stages \['main'\]"):
        train(simc(films), films, epochs={"main": 3})
    with pytest.raises(TrainingError, match="monitor 'f1' is not one of loss, f1_micro"):
        train(simc(films), films, monitor="f1")
    with pytest.raises(DataError, match="no modality 'audio'"):
        train(simc(films), films, valid_protocol="available(audio)")
    with pytest.raises(TrainingError, match="epochs of joint is 0, it must be at least 1"):
        train(simc(films), films, epochs=0)
    with pytest.raises(TrainingError, match="batch_size is 0"):
        train(simc(films), films, batch_size=0)
    with pytest.raises(TrainingError, match="patience is 0"):
        train(simc(films), films, patience=0)
    with pytest.raises(TrainingError, match="max_grad_norm is 0.0, it must be above 0"):
        train(simc(films), films, max_grad_norm=0.0)
    with pytest.raises(TrainingError, match="decay 'cosine' is not one of none, linear, plateau"):
        train(simc(films), films, decay="cosine")
    with pytest.raises(TrainingError, match="decay 'plateau' needs a patience"):
        train(simc(films), films, decay="plateau")


def test_decay_falls_from_lr_to_almost_nothing_in_every_stage(films, monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    train(
        simc(films, schedule="two_stage"),
        films,
        epochs={"simulators": 1, "task": 2},
        batch_size=50,
        lr=1.0,
        decay="linear",
    )
    assert rates == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4, *(1 - k / 8 for k in range(8))])


def test_clip_bounds_the_gradient_of_every_step(films, monkeypatch):
    norms = []

    def norm(parameters):
        return torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()

    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: norms.append(float(norm(self.param_groups[0]["params"]))) or step(self)
    )
    train(simc(films), films, epochs=1)
    free, norms = max(norms), []
    train(simc(films), films, epochs=1, max_grad_norm=free / 2)
    assert max(norms) == pytest.approx(free / 2, rel=1e-4)


def rates(monkeypatch, films, **options):
    """The learning rate of every step."""
    seen, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: seen.append(self.param_groups[0]["lr"]) or step(self))
    train(simc(films, schedule="two_stage"), films, **options)
    monkeypatch.undo()
    return seen


def test_the_rate_rises_then_falls_in_straight_lines(monkeypatch, films):
    epochs = {"simulators": 2, "task": 1}
    steps = len(rates(monkeypatch, films, epochs={"simulators": 1, "task": 1})) // 2
    seen = rates(monkeypatch, films, epochs=epochs, lr=1.0, warmup=0.5, decay="linear")
    first, second = seen[: 2 * steps], seen[2 * steps :]
    assert first[:steps] == pytest.approx([(i + 1) / steps for i in range(steps)])
    assert first[steps:] == pytest.approx([1 - i / steps for i in range(steps)])
    assert max(second) == pytest.approx(1) and second[0] == pytest.approx(2 / steps) and len(second) == steps
    constant = rates(monkeypatch, films, epochs=epochs, lr={"simulators": 0.5, "task": 0.25})
    assert constant == [0.5] * 2 * steps + [0.25] * steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": {"task": 1e-3}}, r"lr names the stages \['task'\], the system has \['simulators', 'task'\]"),
        ({"warmup": 1.0}, "warmup is 1.0, it must be from 0 to below 1"),
    ],
)
def test_wrong_rates_are_refused(films, options, message):
    with pytest.raises(TrainingError, match=message):
        train(simc(films, schedule="two_stage"), films, **options)


def test_two_stages_freeze_what_they_should(films):
    system = simc(films, schedule="two_stage")
    start = {k: v.clone() for k, v in system.state_dict().items()}
    seen = {}

    def on_stage(stage, train):
        seen[stage] = {k: v.clone() for k, v in system.state_dict().items()}

    system.on_stage = on_stage
    history = train(system, films, epochs={"simulators": 2, "task": 1})
    changed_first = {k.split(".")[0] for k in start if not torch.equal(start[k], seen["task"][k])}
    end = system.state_dict()
    changed_second = {k.split(".")[0] for k in start if not torch.equal(seen["task"][k], end[k])}
    assert changed_first == {"S12", "S21"}
    assert changed_second == {"project", "attention", "norm", "g"}
    assert set(zip(history.frame["stage"], history.frame["name"])) == {
        ("simulators", "simulation"), ("task", "task"), ("task", "map"),
    }  # fmt: skip


def test_predict_joins_batches_in_file_order(films):
    system = simc(films)
    whole = predict(system, films, "complex_20_40_40", batch_size=60)
    parts = predict(system, films, "complex_20_40_40", batch_size=7)
    torch.testing.assert_close(whole.logits, parts.logits)
    assert whole.completed["text"].shape == (60, 1, 16) and whole.representation.shape == (60, 16)


class Turns(System):
    """Counts the rows of each row's dialogue in its batch."""

    needs_dialogues = True

    def __init__(self, dims, task, outputs):
        super().__init__(dims, task, outputs)
        self.out, self.counted = nn.Linear(1, outputs), []

    def predict(self, batch):
        same = batch.place[:, None, 0] == batch.place[None, :, 0]
        self.counted.append(same.sum(1))
        return Prediction(
            batch.place[:, :1].float().expand(-1, self.outputs), representation=batch.index[:, None].float()
        )

    def loss(self, batch, stage):
        self.predict(batch)
        return {"task": self.task_loss(self.out(batch.place[:, 1:2].float()), batch.target)}


def test_dialogues_stay_whole_and_predictions_come_in_file_order(films):
    """Dialogues of five rows, which the file scatters."""
    turn = [i // 64 for i in range(320)]
    talk = replace(films, group=[f"{i % 64}" for i in range(320)], order=turn, speaker=["x", "y"] * 160)
    talk = replace(talk, split=["train" if i % 64 < 40 else "valid" if i % 64 < 52 else "test" for i in range(320)])
    system = Turns.for_data(talk)
    fit(system, talk, "complete", epochs=2, batch_size=12, progress=False)
    assert all((n == 5).all() for n in system.counted) and {len(n) for n in system.counted} == {10, 60}
    prediction = predict(system, talk, batch_size=12)
    rows = talk.rows("test")
    assert prediction.representation[:, 0].tolist() == rows.tolist()
    assert prediction.logits[:, 0].tolist() == talk.places[rows, 0].tolist()
    with pytest.raises(DataError, match="dialogues need the columns"):
        fit(Turns.for_data(films), films, "complete", epochs=1, progress=False)


@pytest.mark.gpu
def test_a_gpu_run_resumes_too(tmp_path):
    films = synthetic.like("mmimdb", dim=16).sample(ROWS, 0).to("cuda")
    system = simc(films)
    history = train(system, films, folder=tmp_path)
    again = simc(films)
    assert train(again, films, folder=tmp_path).rows == history.rows and same(system, again)


class Spy(MODELS["fill"]):
    """Sees what training and prediction hand to a system."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.seen = []

    def predict(self, batch):
        assert batch.target is None and batch.complete is None
        self.look(batch)
        return super().predict(batch)

    def loss(self, batch, stage):
        assert batch.target is not None
        self.look(batch)
        return super().loss(batch, stage)

    def look(self, batch):
        for m, x in batch.x.items():
            assert bool((x[~batch.observed[m]] == 0).all()), "what is hidden is zero"
        self.seen.append((batch.index.clone(), batch.observed, batch.complete))


def test_neither_labels_nor_hidden_features_reach_a_system(films):
    spy = Spy.for_data(films)
    train(spy, films, epochs=1)
    evaluate(spy, films, "complex_20_40_40")
    assert len(spy.seen) > 10 and all(complete is None for *_, complete in spy.seen)
    known = Spy.for_data(films)
    fit(known, films, "patterns(complete_training=true)", epochs=1, progress=False)
    _, frames, complete = next(entry for entry in known.seen if entry[2] is not None)
    assert bool((complete["text"][~frames["text"]] != 0).any()), (
        "complete features are there where the protocol says so"
    )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_seed_of_a_mask_reaches_training_and_evaluation(films, split):
    protocol = missing.parse("complex_20_40_40")
    for seed in (0, 3):
        spy = Spy.for_data(films)
        evaluate(spy, films, protocol, split, seed=seed)
        visible = torch.cat([frames["text"] for _, frames, _ in spy.seen])
        assert torch.equal(visible, protocol.observed(films, split, seed)["text"])
    spy = Spy.for_data(films)
    fit(spy, films, "complete", valid_protocol=protocol, seed=3, epochs=1, batch_size=200, progress=False)
    assert bool(spy.seen[1][1]["text"].all()), "training by its own protocol"
    assert torch.equal(spy.seen[-1][1]["text"], protocol.observed(films, "valid", 3)["text"]), "validation by the other"


@pytest.mark.parametrize("dependent", [False, True])
def test_validation_batches_are_of_the_training_size_where_batch_mates_matter(films, dependent):
    spy = Spy.for_data(films)
    spy.batch_dependent = dependent
    fit(spy, films, "complete", epochs=1, batch_size=7, progress=False)
    valid = set(films.rows("valid").tolist())
    sizes = [len(index) for index, *_ in spy.seen if set(index.tolist()) <= valid]
    assert max(sizes) == (7 if dependent else len(valid)) and len(valid) > 7


def test_patterns_are_redrawn_every_epoch_of_every_stage(films, monkeypatch):
    drawn, observed = [], Patterns.observed

    def recording(self, data, split, seed, epoch=0):
        if split == "train":
            drawn.append(epoch)
        return observed(self, data, split, seed, epoch)

    monkeypatch.setattr(Patterns, "observed", recording)
    system = simc(films, schedule="two_stage")
    fit(system, films, "patterns", epochs={"simulators": 2, "task": 3}, batch_size=64, progress=False)
    assert sorted(set(drawn)) == [0, 1, 2, 3, 4]


def test_a_trained_system_is_left_ready_to_predict(films):
    system = simc(films)
    train(system, films, epochs=1)
    assert not system.training
