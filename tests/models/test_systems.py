"""The contract that every system satisfies. A new entry of MODELS needs only its cases in VARIANTS."""

import inspect
import math
import re
import sys
from dataclasses import replace

import jaxtyping
import pytest
import torch

from mmlib import metrics, synthetic
from mmlib.models.base import TRAITS
from mmlib.models.catalogue import MODELS
from mmlib.models.yardsticks.baselines import class_weights
from mmlib.models.yardsticks.oracle import Oracle
from mmlib.names import DataError
from mmlib.training.evaluate import evaluate
from mmlib.training.fit import fit
from tests.helpers.dialogues import fitting
from tests.helpers.systems import (
    TINY_ADMC,
    TINY_ADN,
    TINY_CLGSI,
    TINY_CUBEMLP,
    TINY_DLF,
    TINY_EMT,
    TINY_GCNET,
    TINY_M3CARE,
    TINY_MCTN,
    TINY_MFMB,
    TINY_MPLMM,
    TINY_MULT,
    TINY_SELF_MM,
    TINY_SHASPEC,
    TINY_SMCIR,
    TINY_SMIL,
    TINY_TATE,
    TINY_TRANSM,
    TINY_UMDF,
)

ROWS = {"train": 64, "valid": 32, "test": 40}
VARIANTS = {
    "simc": [
        {},
        {"variant": "official"},
        {"schedule": "two_stage"},
        {"reduction": "sum"},
        {"l2norm": True},
        {"impute": "zeros"},
    ],
    "prior": [{}],
    "coin": [{}],
    "all_zeros": [{}],
    "unimodal": [{"modality": "text"}, {"modality": "image"}],
    "fill": [{}, {"fill": "mean"}, {"dropout": True}, {"complete_only": True}],
    "umdf": [
        TINY_UMDF | changes
        for changes in (
            {},
            {"masked": True},
            {"f_y": "separate"},
            {"f_y": "supervised"},
            {"feature": "paired"},
            {"interaction": "self"},
            {"integration": "concatenation"},
            {"views": "complete"},
            {"views": "any"},
            {"views": "one"},
        )  # fmt: skip
    ],
}
VARIANTS["admc"] = [TINY_ADMC | {"adn": False}] + [
    TINY_ADMC | TINY_ADN | changes
    for changes in (
        {},
        {"variant": "official"},
        {"variant": "conditional"},
        {"encoders": "joint"},
        {"fusion": "shared"},
        {"enhance": False},
        {"sampler": "ddim", "steps": 4},
    )
]
VARIANTS["smcir"] = [
    TINY_SMCIR | changes
    for changes in (
        {"dmfd": False},
        {"variant": "corrected"},
        {"variant": "corrected", "projection": "aligned", "indicators": "HMS"},
        {"variant": "official", "hide": "random"},
        {"variant": "corrected", "msse": False, "reconstruction": "si_mse"},
        {"cmcg": False, "xi": 0.0},
    )
]
VARIANTS["ae"] = [{"d": 8}, {"d": 8, "impute": "zeros"}]
VARIANTS["cra"] = [{"d": 8}, {"d": 8, "blocks": 3}, {"d": 8, "impute": "zeros"}]
VARIANTS["mmin"] = [{"d": 8, "blocks": 2}, {"d": 8, "blocks": 2, "impute": "zeros"}]
VARIANTS["if_mmin"] = [{"d": 8, "blocks": 2, "dropout": 0.1}, {"d": 8, "blocks": 2, "impute": "zeros"}]
VARIANTS["shaspec"] = [TINY_SHASPEC | changes for changes in ({}, {"impute": "zeros"})]
VARIANTS["m3care"] = [TINY_M3CARE | changes for changes in ({}, {"impute": "zeros"})]
VARIANTS["pmcmfl"] = [{"d": 8}, {"d": 8, "impute": "zeros"}]
VARIANTS["tate"] = [TINY_TATE, TINY_TATE | {"guidance": False}]
VARIANTS["transm"] = [TINY_TRANSM]
VARIANTS["mctn"] = [TINY_MCTN]
VARIANTS["smil"] = [TINY_SMIL, TINY_SMIL | {"impute": "zeros"}]
VARIANTS["gcnet"] = [TINY_GCNET]
VARIANTS["emt"] = [TINY_EMT | changes for changes in ({}, {"dlfr": False}, {"dlfr": False, "dropout_modalities": True})]
VARIANTS["dlf"] = [TINY_DLF, TINY_DLF | {"dropout_modalities": True}]
VARIANTS["mfmb"] = [TINY_MFMB]
VARIANTS["mult"] = [TINY_MULT, TINY_MULT | {"dropout_modalities": True}]
VARIANTS["mplmm"] = [TINY_MPLMM, TINY_MPLMM | {"impute": "zeros"}]
VARIANTS["tetfn"] = [TINY_MULT, TINY_MULT | {"dropout_modalities": True}]
VARIANTS["self_mm"] = [TINY_SELF_MM, TINY_SELF_MM | {"dropout_modalities": True}]
VARIANTS["cubemlp"] = [
    TINY_CUBEMLP | changes
    for changes in ({}, {"dropout_modalities": True}, {"lengths": [4, 2, 1], "widths": [6, 6, 3]})
]
VARIANTS["clgsi"] = [TINY_CLGSI, TINY_CLGSI | {"dropout_modalities": True}]
VECTORS_ONLY = ("simc",)
NEEDS_TEXT = ("smcir",)
WITHOUT_TASK = (  # names of loss terms that no class weight enters
    "simulation", "feature", "logits", "reconstruction", "ADN", "imagination", "cycle", "invariance", "cmd", "shared",
    "domain", "norm", "guidance", "tag", "translation", "back", "second", "contrast", "generated", "attraction", "margin",
    "orthogonality",
)  # fmt: skip
CASES = [(name, arguments) for name, variants in VARIANTS.items() for arguments in variants]
LEARNED = [n for n, kind in MODELS.items() if kind.stages and kind.modalities != "one of them"]
LEARNING = [(n, a) for n, a in CASES if MODELS[n].stages or n == "simc"]


@pytest.fixture(scope="module")
def vectors():
    return synthetic.like("mmimdb", dim=12, latent=3).sample(ROWS, 0)


@pytest.fixture(scope="module")
def sequences():
    modalities = {"image": synthetic.Modality(12, 3), "text": synthetic.Modality(12, 4, blur=0.5)}
    return synthetic.like("mmimdb", modalities=modalities, latent=3).sample(ROWS, 0)


@pytest.fixture
def films(name, vectors, sequences):
    """Data for the system under test: sequences, or vectors if it takes only vectors; in dialogues if it needs them."""
    return fitting(name, vectors if name in VECTORS_ONLY else sequences)


def ready(name, arguments, films):
    system = MODELS[name].for_data(films, **arguments)
    system.setup(films.view("train"))
    return system.eval()


def batch_of(films, split="test", name=""):
    view = films.view(split)
    batch = view.batch(torch.arange(len(view)))
    keep = torch.arange(len(batch), device=films.device) % 3
    frames = {
        "image": batch.observed["image"] & (keep != 1)[:, None],
        "text": batch.observed["text"] & ((keep != 2) | (name in NEEDS_TEXT))[:, None],
    }
    return replace(batch, x={m: x * frames[m][..., None] for m, x in batch.x.items()}, observed=frames)


def test_every_model_has_its_cases():
    assert set(VARIANTS) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_option_and_each_of_its_values_is_documented(name, films, monkeypatch):
    kind = MODELS[name]
    package = kind.__module__.removesuffix(".system")
    modules = [module for path, module in sys.modules.items() if path.startswith(package)]
    options = {}
    for module in modules:
        if hasattr(module, "check_options"):
            monkeypatch.setattr(module, "check_options", lambda _, **checked: options.update(checked))
    kind.for_data(films, **VARIANTS[name][-1])
    kind.for_data(films, **VARIANTS[name][0])
    documented = [*modules, *(value for module in modules for value in vars(module).values() if inspect.isclass(value))]
    text = " ".join(o.__doc__ or "" for o in documented if o in modules or o.__module__.startswith(package))
    for option, (_, choices) in options.items():
        assert re.search(rf"\b{option}\b", text), f"{option} stands in no docstring"
        for choice in choices:
            assert re.search(rf"\b{choice}\b", text), f"{option}={choice!r} stands in no docstring"


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_poison_in_absent_modalities_changes_nothing(name, arguments, films):
    system, batch = ready(name, arguments, films), batch_of(films, name=name).unlabelled()
    poisoned = replace(
        batch, x={m: x.masked_fill(~batch.observed[m][..., None], torch.nan) for m, x in batch.x.items()}
    )
    assert any(bool(x.isnan().any()) for x in poisoned.x.values())
    # Two systems, because a system may cache what it computed.
    clean, dirty = system.predict(batch), ready(name, arguments, films).predict(poisoned)
    hint = (
        f"{name}: `predict` reads features of absent modalities, which were set to NaN here. NaN times 0 is NaN, so that a "
        "product with the mask is not enough: take x.masked_fill(~batch.observed[m][..., None], 0) first"
    )
    assert bool(dirty.logits.isfinite().all()) and torch.equal(clean.logits, dirty.logits), hint


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_predict_needs_no_labels_and_gives_declared_shapes(name, arguments, films):
    system, batch = ready(name, arguments, films), batch_of(films, name=name).unlabelled()
    assert batch.target is None and batch.complete is None
    prediction = system.predict(batch)
    assert prediction.logits.shape == (40, films.outputs)
    for m, x in (prediction.completed or {}).items():
        observed = batch.observed[m]
        expected = batch.x[m][observed]
        if not arguments.get("l2norm"):
            assert torch.equal(x[observed], expected), "observed frames stay as they are"


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_batch_mates_and_row_order_do_not_matter(name, arguments, films):
    system, batch = ready(name, arguments, films), batch_of(films, name=name).unlabelled()
    assert not system.batch_dependent
    whole = system.predict(batch).logits

    def alone(rows):
        return ready(name, arguments, films).predict(batch.select(rows)).logits

    halves = torch.cat([alone(rows) for rows in torch.arange(40).split(20)])
    torch.testing.assert_close(whole, halves, rtol=1e-5, atol=1e-6)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole[order], alone(order), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments"), LEARNING)
def test_every_loss_term_is_finite_and_reaches_its_parameters(name, arguments, films):
    system = ready(name, arguments, films).train()
    batch = batch_of(films, "train", name)
    for stage in system.stages:
        system.zero_grad()
        terms = system.loss(batch, stage)
        assert terms and all(float(v.detach()) > 0 for v in terms.values())
        sum(terms.values()).backward()
        names = {id(p): n for n, p in system.named_parameters()}
        for p in system.parameters_of(stage):
            # Without ADN the weights for the missing modalities of a scenario get zeros as input. A mean of two equal streams
            # is the same whatever their weights.
            idle = arguments.get("adn") is False and ".project." in names[id(p)]
            idle |= arguments.get("views") == "one" and "gate" in names[id(p)]
            assert p.grad is not None and bool(p.grad.isfinite().all())
            assert float(p.grad.abs().sum()) > 0 or idle, names[id(p)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), [(n, a) for n, a in LEARNING if a == VARIANTS[n][0]])
def test_at_most_fifty_epochs_beat_the_prior_on_their_own_rows(name, arguments, films):
    system = MODELS[name].for_data(films, **arguments)
    prior = ready("prior", {}, films)
    target = films.target[films.rows("train")]
    view = films.view("train")
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    chance = loss(prior.predict(view.batch(torch.arange(64))).logits, target)
    epochs = {stage.split()[0]: 50 if stage == system.stages[-1] else 10 for stage in system.stages}
    epochs |= {"mf": 15} if name == "admc" else {}  # of each of four networks
    # Most systems are past their best epoch long before the fiftieth.
    settings = {"batch_size": 16, "lr": 3e-3, "monitor": "loss", "patience": 8}
    fit(system, films, "complete", epochs=epochs, progress=False, **settings)
    with torch.no_grad():
        ours = loss(system.eval().predict(view.batch(torch.arange(64))).logits, target)
    assert float(ours) < float(chance)


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", LEARNED)
def test_a_killed_run_ends_with_the_same_weights_as_a_whole_one(name, films, tmp_path, monkeypatch):
    """What `fit` must find again are parameters and buffers; a system with any other state ends elsewhere."""
    monkeypatch.setattr("mmlib.training.checkpoint.SECONDS", 0.0)  # a checkpoint after every step

    def run(system, folder=None):
        fit(system, films, "patterns(keep=text)", epochs=2, batch_size=20, seed=1, folder=folder, progress=False)
        return system.state_dict()

    def new():
        return MODELS[name].for_data(films, **VARIANTS[name][0])

    class Counted:
        def __init__(self, system, limit):
            self.loss, self.limit, self.count = system.loss, limit, 0
            system.loss = self

        def __call__(self, batch, stage):
            self.count += 1
            if self.count > self.limit:
                raise Stop
            return self.loss(batch, stage)

    whole = new()
    counted = Counted(whole, math.inf)
    expected = run(whole)
    for share in (0.3, 0.8):  # of the same run, which is killed twice
        killed = new()
        Counted(killed, int(share * counted.count) - int(0.3 * counted.count) * (share == 0.8))
        with pytest.raises(Stop):
            run(killed, tmp_path)
    again = run(new(), tmp_path)
    assert list(again) == list(expected)
    assert all(torch.equal(again[key], value) for key, value in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LEARNED if n not in NEEDS_TEXT])
def test_a_modality_without_information_is_at_chance(name):
    modalities = {"image": synthetic.Modality(8, blur=100.0), "text": synthetic.Modality(8, blur=0.3)}
    world = synthetic.draw("multiclass", modalities, prevalence={"a": 0.5, "b": 0.5}, latent=2, separation=3.0)
    data = fitting(name, world.sample({"train": 300, "valid": 100, "test": 500}, 0).standardised())
    system = MODELS[name].for_data(data, **VARIANTS[name][0])
    epochs = 10 if MODELS[name].needs_dialogues else 6  # these learn more slowly
    fit(system, data, "patterns", epochs=epochs, lr=4e-3, progress=False)
    assert evaluate(system, data, "available(text)")["accuracy"] > 0.9
    assert 0.4 < evaluate(system, data, "available(image)")["accuracy"] < 0.6
    oracle = Oracle(world)
    assert evaluate(oracle, world.sample({"train": 1, "valid": 1, "test": 1000}, 1), "available(image)")["ua"] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mosi", "iemocap", "iemocap_binary", "mintrec"])
@pytest.mark.parametrize("name", [n for n in MODELS if n not in (*VECTORS_ONLY, *NEEDS_TEXT, "all_zeros")])
def test_systems_for_any_modalities_take_every_task_and_sequences(task, name):
    jaxtyping.config.update("jaxtyping_disable", False)  # though it is slow: every system meets every task here alone
    # Enough rows to have each of MIntRec's 20 intents in the training split.
    data = fitting(name, synthetic.like(task, dim=6, length=5).sample({"train": 400, "valid": 40, "test": 60}, 0))
    if data.task not in MODELS[name].tasks:
        with pytest.raises(DataError, match=f"not defined for {data.task}"):
            MODELS[name].for_data(data, **VARIANTS[name][0])
        return
    system = MODELS[name].for_data(data, **VARIANTS[name][0])
    fit(system, data, "patterns", epochs=1, batch_size=100, progress=False)
    scores = evaluate(system, data, "rate(0.5)")
    assert metrics.PRIMARY[data.task] in scores


@pytest.fixture(scope="module")
def intents():
    """Three classes of which one is frequent, as vectors."""
    modalities = {"image": synthetic.Modality(6), "text": synthetic.Modality(6)}
    prevalence = {"a": 0.7, "b": 0.2, "c": 0.1}
    return synthetic.draw("multiclass", modalities, prevalence=prevalence, latent=2).sample(ROWS, 0)


def test_class_weights_by_hand(intents, vectors):
    target = intents.target[intents.rows("train")].tolist()
    by_hand = [64 / (3 * target.count(c)) for c in range(3)]
    torch.testing.assert_close(class_weights(intents.view("train")), torch.tensor(by_hand))
    without = replace(intents, target=intents.target.clamp(max=1))
    torch.testing.assert_close(class_weights(without.view("train"))[2], torch.tensor(64 / 3))
    with pytest.raises(DataError, match="for multiclass data, the task is multilabel"):
        class_weights(vectors.view("train"))


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.stages])
def test_class_weights_act_on_every_task_loss_and_on_no_other_term(name, intents):
    intents = fitting(name, intents)
    view = intents.view("train")
    batch, without_task = view.batch(torch.arange(64)), WITHOUT_TASK
    for arguments in VARIANTS[name]:
        system = ready(name, arguments, intents)
        names = set(system.state_dict())
        for stage in system.stages:
            losses = []
            for weight in (None, torch.ones(3), class_weights(view)):
                system.class_weight = weight
                torch.manual_seed(0)
                losses.append(system.loss(batch, stage))
            plain, equal, weighted = losses
            for term, value in plain.items():
                torch.testing.assert_close(equal[term], value)
                assert torch.equal(weighted[term], value) == (term in without_task), (arguments, stage, term)
        assert set(system.state_dict()) == names, "class weights are not part of the state"


@pytest.mark.parametrize(
    "name", [name for name, model in MODELS.items() if model.stages and "regression" in model.tasks]
)
def test_the_absolute_error_replaces_the_squared_one_and_no_other_term(name):
    """Of SMCIR it always is the absolute one (Eq 27)."""
    data = synthetic.like("mosi", dim=6, length=5).sample({"train": 40, "valid": 8, "test": 8}, 0)
    data = fitting(name, data if MODELS[name].modalities != "two" else data.only("text", "audio").pooled())
    batch = data.view("train").batch(torch.arange(40))
    system = ready(name, VARIANTS[name][0], data)
    for stage in system.stages:
        losses = []
        for system.absolute in (False, True):
            torch.manual_seed(0)
            losses.append(system.loss(batch, stage))
        for term, value in losses[0].items():
            unchanged = term in WITHOUT_TASK or name == "smcir"
            assert torch.equal(losses[1][term], value) == unchanged, (stage, term)


def test_absolute_error_by_hand_and_as_a_setting_of_fit():
    data = synthetic.like("mosi", dim=3, length=2).sample({"train": 12, "valid": 4, "test": 4}, 0)
    system = ready("fill", {}, data)
    fit(system, data, "complete", steps=1, absolute=True, progress=False)
    batch = data.view("train").batch(torch.arange(12))
    errors = [abs(p - y) for p, y in zip(system.predict(batch).logits[:, 0].tolist(), batch.target.tolist())]
    assert float(system.loss(batch, "main")["task"].detach()) == pytest.approx(sum(errors) / 12, rel=1e-5)
    fit(system, data, "complete", steps=1, progress=False)
    errors = [(p - y) ** 2 for p, y in zip(system.predict(batch).logits[:, 0].tolist(), batch.target.tolist())]
    assert float(system.loss(batch, "main")["task"].detach()) == pytest.approx(sum(errors) / 12, rel=1e-5)


def test_weighted_cross_entropy_by_hand(intents):
    system, batch = ready("fill", {}, intents), intents.view("train").batch(torch.arange(30))
    system.class_weight = torch.tensor([0.5, 2.0, 4.0])
    p = system.predict(batch).logits.softmax(1).tolist()
    costs = [(float(system.class_weight[y]), -math.log(p[i][y])) for i, y in enumerate(batch.target.tolist())]
    by_hand = sum(w * cost for w, cost in costs) / sum(w for w, _ in costs)
    assert float(system.loss(batch, "main")["task"].detach()) == pytest.approx(by_hand, rel=1e-5)


def test_traits_are_declared_by_name():
    assert all(hasattr(MODELS["simc"], t) for t in TRAITS)
    assert MODELS["simc"].for_data(synthetic.like("mmimdb", dim=4).sample(ROWS)).traits == ("hides_nothing",)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_gpu_predicts_as_the_cpu_does(name, arguments, films):
    expected = ready(name, arguments, films).predict(batch_of(films, name=name).unlabelled()).logits
    system, batch = ready(name, arguments, films).cuda(), batch_of(films.to("cuda"), name=name).unlabelled()
    torch.testing.assert_close(system.predict(batch).logits.cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["cubemlp", "dlf"])
def test_a_system_of_one_length_reads_every_word(name):
    """Interpolated to fewer steps than there are words, it would never see most of them."""
    shapes = {"text": synthetic.Modality(4, 40), "audio": synthetic.Modality(3)}
    data = synthetic.like("mosi", modalities=shapes).sample(ROWS)
    view, words = data.view("test"), data.observed["text"]
    assert words.shape[1] == 40
    system, batch = MODELS[name].for_data(data, d=8).eval(), view.batch(torch.arange(len(view)))
    row = batch.observed["text"].sum(1).argmax()
    batch = batch.select(row[None])
    whole, unread = system.predict(batch).logits, []
    for t in batch.observed["text"][0].nonzero().flatten().tolist():
        x = batch.x["text"].clone()
        x[0, t] += 1
        if torch.allclose(system.predict(replace(batch, x={**batch.x, "text": x})).logits, whole, atol=1e-7):
            unread.append(t)
    assert system.length == 40 and not unread
    assert MODELS[name].for_data(data, d=8, length=5).length == 5
