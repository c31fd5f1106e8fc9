"""Masks depend on (seed, split, id, protocol) alone, meet their rates, and leave something of every row."""

import hashlib
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from mmlib import missing, synthetic
from mmlib.missing.protocols import Rates
from mmlib.names import SPLITS, DataError

ALL = [
    "complete", "patterns", "frames(0.3)", "frames(1)", "rate(0.4)", "rate(0.4, lose=1)", "slots(0.5)",
    "rates(text=0.5, audio=0.9)", "rates(vision=0.3, text=0.9, audio=1)",
    "available(text, audio) then rates(text=0.6, audio=0.7)",
    "mar(text, given=audio, rate=0.5)", "mnar(text, given=target, rate=0.4)", "mnar(text, given=text, rate=0.3)",
    "available(text, audio) then frames(0.5)", "rate(0.4) then frames(0.9)", "patterns(keep=text)", "frames(0.3, keep=text)",
]  # fmt: skip
FILMS = ["complex_20_40_40", "100_image_20_text", "20_image_100_text", "complex_20_40_40_bernoulli"]


@pytest.fixture(scope="module")
def films():
    return synthetic.like("mmimdb", dim=6).sample({"train": 500, "valid": 50, "test": 203}, 1)


@pytest.fixture(scope="module")
def clips():
    return synthetic.like("mosi", dim=5, length=7).sample({"train": 300, "valid": 50, "test": 99}, 1)


def lacking(data, every: int):
    """The same data where every n-th row lacks its first modality by nature."""
    m = data.modalities[0]
    keep = (torch.arange(len(data)) % every != 0)[:, None]
    frames = {**data.observed, m: data.observed[m] & keep}
    features = {**data.features, m: data.features[m] * keep[..., None]}
    return replace(data, observed=frames, features=features)


def shuffled(data, seed=0):
    return data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)), "shuffled")


def by_id(data, split, visible):
    ids = data.ids[data.rows(split).numpy()]
    return {i: {m: f[n].tolist() for m, f in visible.items()} for n, i in enumerate(ids)}


@pytest.mark.parametrize("name", ALL + FILMS)
def test_row_order_does_not_change_a_mask(name, films, clips):
    data = films if name in FILMS else clips
    protocol, other = missing.parse(name), shuffled(data)
    for split in SPLITS:
        assert by_id(data, split, protocol.observed(data, split, 3)) == by_id(
            other, split, protocol.observed(other, split, 3)
        )


@pytest.mark.parametrize("name", [n for n in ALL if n != "complete"] + FILMS)
def test_seed_and_split_change_a_mask(name, films, clips):
    data = films if name in FILMS else clips
    protocol = missing.parse(name)
    first, second, again = (by_id(data, "train", protocol.observed(data, "train", s)) for s in (0, 1, 0))
    assert first == again and first != second
    swapped = replace(data, split=np.select([data.split == "train", data.split == "test"], ["test", "train"], "valid"))
    assert set(by_id(swapped, "test", protocol.observed(swapped, "test", 0))) == set(first)
    assert by_id(swapped, "test", protocol.observed(swapped, "test", 0)) != first


def test_uniforms_are_the_leading_bits_of_a_hash():
    raw = hashlib.shake_128(b"7\x00test\x00frames\x00film").digest(8)
    by_hand = (int.from_bytes(raw, "little") >> 11) / 2**53
    assert missing.uniforms(7, "test", np.array(["film"]), "frames")[0, 0] == by_hand
    many = missing.uniforms(0, "train", np.arange(20000), "x")[:, 0]
    assert abs(many.mean() - 0.5) < 0.01 and abs(many.var() - 1 / 12) < 0.003


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("complex_20_40_40", (0.2, 0.4, 0.4)),
        ("complex_10_45_45", (0.1, 0.45, 0.45)),
        ("complex_30_35_35", (0.3, 0.35, 0.35)),
        ("100_image_20_text", (0.2, 0.8, 0.0)),
        ("20_image_100_text", (0.2, 0.0, 0.8)),
        ("100_image_100_text", (1.0, 0.0, 0.0)),
    ],
)
def test_simc_fractions_are_exact(name, shares, films):
    for split in SPLITS:
        visible = missing.parse(name).observed(films, split, 0)
        image, text = visible["image"][:, 0], visible["text"][:, 0]
        n = len(image)
        got = [int((image & text).sum()), int((image & ~text).sum()), int((~image & text).sum())]
        assert sum(got) == n
        assert all(abs(g - s * n) <= 1 for g, s in zip(got, shares)), got
        if n == 500:
            assert got == [round(s * n) for s in shares]


def test_bernoulli_is_not_exact_but_near(films):
    visible = missing.parse("complex_20_40_40_bernoulli").observed(films, "train", 0)
    both = int((visible["image"] & visible["text"]).sum())
    assert both != 100 and 60 < both < 140


def test_order_of_names_decides_who_is_rare(films):
    a = missing.parse("100_image_20_text").observed(films, "train", 0)
    b = missing.parse("20_image_100_text").observed(films, "train", 0)
    assert int(a["image"].sum()) == 500 and int(a["text"].sum()) == 100
    assert int(b["image"].sum()) == 100 and int(b["text"].sum()) == 500


def test_a_higher_rate_hides_a_superset(clips):
    for family in ("frames({})", "rate({})"):
        low = missing.parse(family.format(0.2)).observed(clips, "test", 0)
        high = missing.parse(family.format(0.6)).observed(clips, "test", 0)
        assert all(not bool((high[m] & ~low[m]).any()) for m in low)
        assert any(bool((low[m] & ~high[m]).any()) for m in low)


def test_frame_rate_is_met_and_padding_stays_invisible(clips):
    visible = missing.parse("frames(0.3)").observed(clips, "train", 0)
    real = {m: f[clips.rows("train")] for m, f in clips.observed.items()}
    for m, f in visible.items():
        assert not bool((f & ~real[m]).any())
        assert abs(int(f.sum()) / int(real[m].sum()) - 0.7) < 0.03
    alone = missing.parse("frames(1)").observed(clips, "train", 0)
    assert torch.equal(sum(f.sum(1) for f in alone.values()), torch.ones(300, dtype=torch.int64)), "one frame survives"


def padded_in_front(data, extra=0):
    """The same sequences with their padding moved to the front, and `extra` more of it."""
    features, frames = {}, {}
    for m, x in data.features.items():
        shift = x.shape[1] - data.observed[m].sum(1)  # (N,)
        column = (torch.arange(x.shape[1]) - shift[:, None]) % x.shape[1]
        features[m] = torch.nn.functional.pad(x.gather(1, column[..., None].expand_as(x)), (0, 0, extra, 0))
        frames[m] = torch.nn.functional.pad(data.observed[m].gather(1, column), (extra, 0))
    return replace(data, features=features, observed=frames)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_padding_in_front_or_at_the_end_changes_no_loss_and_no_rate(clips, rate):
    protocol, front = missing.parse(f"frames({rate})"), padded_in_front(clips, extra=3)
    assert any(bool((~front.observed[m][:, :4].any(1)).any()) for m in front.modalities), (
        "some rows are padded in front"
    )
    rows = clips.rows("train")
    end, other = protocol.observed(clips, "train", 5), protocol.observed(front, "train", 5)
    for m in clips.modalities:
        real = clips.observed[m][rows], front.observed[m][rows]
        lost = [[seen[r].tolist() for seen, r in zip(v, f)] for v, f in ((end[m], real[0]), (other[m], real[1]))]
        assert lost[0] == lost[1], "the k-th real frame has the same fate wherever it stands"
    shares = [missing.summary(data, protocol, 5)["frames visible"].tolist() for data in (clips, front)]
    assert shares[0] == shares[1]


def test_frames_is_exact_in_expectation_at_every_rate():
    data = synthetic.like("mosi", dim=2, length=40).sample({"train": 1500, "valid": 1, "test": 1}, 0)
    real = sum(int(data.observed[m][data.rows("train")].sum()) for m in data.modalities)
    for rate in (0.0, 0.1, 0.5, 0.9):
        visible = missing.parse(f"frames({rate})").observed(data, "train", 0)
        share = sum(int(f.sum()) for f in visible.values()) / real
        assert abs(share - (1 - rate)) < 4 * (rate * (1 - rate) / real) ** 0.5 + 1e-12
    everything = missing.parse("frames(1)").observed(data, "train", 0)
    left = torch.stack([f.sum(1) for f in everything.values()]).sum(0)
    assert bool((left == 1).all()), "of a row that would lose all frames the luckiest one stays"


def test_then_loses_frames_of_what_the_first_leaves(clips):
    both = missing.parse("available(text) then frames(0.5)")
    seen, frames_alone = both.observed(clips, "train", 0), missing.parse("frames(0.5)").observed(clips, "train", 0)
    assert not bool(seen["audio"].any()) and not bool(seen["vision"].any())
    alone = frames_alone["text"]
    assert torch.equal(seen["text"][alone.any(1)], alone[alone.any(1)]), "a frame's fate is the same in every protocol"
    spared = seen["text"][~alone.any(1)]
    assert len(spared) > 0 and bool((spared.sum(1) == 1).all()), "a row that would lose everything keeps one frame"
    assert str(both) == "available(text) then frames(rate=0.5)"
    with pytest.raises(DataError, match="'patterns' is redrawn and stands alone"):
        missing.parse("patterns then frames(0.5)").observed(clips, "train", 0)
    with pytest.raises(DataError, match="no modality 'image'"):
        missing.parse("frames(0.5) then available(image)").observed(clips, "train", 0)


def test_rate_hits_the_exact_share_and_the_asked_number(clips):
    for lose in (1, 2):
        visible = missing.parse(f"rate(0.4, lose={lose})").observed(clips, "train", 0)
        present = torch.stack([f.any(1) for f in visible.values()]).sum(0)
        assert int((present == 3 - lose).sum()) == 120 and int((present == 3).sum()) == 180
    names = missing.pattern_names(missing.parse("rate(1)").observed(clips, "train", 0))
    counts = dict(zip(*np.unique(names, return_counts=True)))
    assert len(counts) == 6 and min(counts.values()) > 25, "all six incomplete patterns, near 50 rows each"


def test_exact_rates_by_hand():
    two = missing.parse("rates(text=0.1, audio=0.6)")
    assert two.exact(["text", "audio"]) == pytest.approx({"text": 0.04 / 0.94, "audio": 0.54 / 0.94})
    assert two.exact(["audio", "vision", "text"]) == pytest.approx({"audio": 0.6, "vision": 0, "text": 0.1})
    assert two.exact(["audio"]) == {"audio": 0}, "a row's only modality always stays"
    three = missing.parse("rates(text=0.5, audio=0.4, vision=1)")
    assert three.exact(["text", "audio", "vision"]) == pytest.approx(
        {"text": 0.3 / 0.8, "audio": 0.2 / 0.8, "vision": 1}
    )


def test_rates_follow_the_distribution_under_the_condition():
    """Frequencies of all sets, within five deviations, against the product of rates renormalised over the sets."""
    clips = synthetic.like("mosi", dim=2, length=2).sample({"train": 6000, "valid": 1, "test": 1}, 0)
    three, two = {"text": 0.6, "audio": 0.8, "vision": 0.9}, {"text": 0.3, "vision": 0.9}
    for data, lost in ((clips, three), (lacking(clips, 2), three), (lacking(clips, 2), two)):
        protocol = Rates(tuple(lost.items()))
        visible, rows = protocol.observed(data, "train", 0), data.rows("train")
        sets = missing.pattern_names(visible)
        natural = missing.pattern_names({m: f[rows] for m, f in data.observed.items()})
        for has in set(natural):
            modalities, group = has.split(" + "), sets[natural == has]
            subsets = [s for k in range(len(modalities)) for s in itertools.combinations(modalities, k + 1)]
            weight = {
                s: math.prod(1 - lost.get(m, 0) if m in s else lost.get(m, 0) for m in modalities) for s in subsets
            }
            for s in subsets:
                share, n = weight[s] / sum(weight.values()), len(group)
                assert abs((group == " + ".join(s)).sum() - share * n) <= 5 * (n * share * (1 - share)) ** 0.5, (has, s)
            for m, rate in protocol.exact(modalities).items():
                assert rate == pytest.approx(sum(w for s, w in weight.items() if m not in s) / sum(weight.values()))


def test_higher_rates_remove_a_superset_where_the_first_draw_leaves_something(clips):
    low, high = {"text": 0.3, "audio": 0.6, "vision": 0.7}, {"text": 0.8, "audio": 0.7, "vision": 0.7}
    seen, less = (Rates(tuple(r.items())).observed(clips, "train", 0) for r in (low, high))
    ids = clips.ids[clips.rows("train").numpy()]
    gone = np.all([missing.uniforms(0, "train", ids, "rates", m)[:, 0] < rate for m, rate in high.items()], axis=0)
    back = torch.stack([(less[m] & ~seen[m]).any(1) for m in seen]).any(0).numpy()
    assert 0 < gone.mean() < 0.6 and not back[~gone].any() and back[gone].any()
    first = missing.uniforms(0, "train", ids, "rates", "audio")[:, 0]
    assert np.array_equal(less["audio"].any(1).numpy()[~gone], (first >= high["audio"])[~gone])


def test_a_modality_more_and_the_order_of_names_change_no_row_that_keeps_something(clips):
    two, other = missing.parse("rates(text=0.5, audio=0.6)"), missing.parse("rates(audio=0.6, text=0.5)")
    three, without = two.observed(clips, "test", 0), two.observed(clips.only("text", "audio"), "test", 0)
    assert all(torch.equal(f, other.observed(clips, "test", 0)[m]) for m, f in three.items())
    kept = three["text"].any(1) | three["audio"].any(1)
    assert not bool(kept.all()) and all(torch.equal(without[m][kept], three[m][kept]) for m in without)


def test_slots_meet_the_rate_evenly(clips):
    visible = missing.parse("slots(0.5)").observed(clips, "train", 0)
    present = torch.stack([f.any(1) for f in visible.values()]).sum(0)
    assert int(present.sum()) == 450 and set(present.tolist()) == {1, 2}


def test_patterns_are_uniform_and_redrawn_in_training_only(clips):
    protocol = missing.parse("patterns")
    counts = np.unique(missing.pattern_names(protocol.observed(clips, "train", 0)), return_counts=True)[1]
    assert len(counts) == 7 and counts.min() > 20
    first, second = (protocol.observed(clips, "train", 0, epoch=e)["text"] for e in (0, 1))
    assert not torch.equal(first, second)
    first, second = (protocol.observed(clips, "test", 0, epoch=e)["text"] for e in (0, 1))
    assert torch.equal(first, second)


def test_what_is_kept_loses_nothing(clips):
    keeping = lacking(clips, 5)
    has = keeping.present["text"][keeping.rows("train")]
    for name in ("patterns(keep=text)", "frames(0.6, keep=text)", "frames(1.0, keep=text)"):
        visible = missing.parse(name).observed(keeping, "train", 0)
        assert torch.equal(visible["text"], keeping.observed["text"][keeping.rows("train")])
        if "1.0" in name:
            assert not any(bool(visible[m][has].any()) for m in ("audio", "vision"))
            assert bool((torch.stack([f.sum(1) for f in visible.values()]).sum(0)[~has] == 1).all())
    counts = np.unique(
        missing.pattern_names(missing.parse("patterns(keep=text)").observed(clips, "train", 0)), return_counts=True
    )
    assert len(counts[0]) == 4 and all("text" in name for name in counts[0]) and counts[1].min() > 55
    half = [missing.parse(name).observed(clips, "test", 0) for name in ("frames(0.5)", "frames(0.5, keep=text)")]
    same = [torch.equal(half[0][m], half[1][m]) for m in ("text", "audio", "vision")]
    assert same[0] is False
    lost = [(half[0][m] & ~half[1][m]).sum() for m in ("audio", "vision")]
    assert sum(map(int, lost)) <= 99, "but for a row's luckiest frame the others lose the same"
    with pytest.raises(DataError, match="'smell'"):
        missing.parse("frames(0.5, keep=smell)").observed(clips, "test", 0)


def test_missing_at_random_depends_on_the_other_modality_only(films):
    lost = ~missing.parse("mar(text, given=image, rate=0.5)").observed(films, "train", 0)["text"][:, 0]
    assert abs(float(lost.float().mean()) - 0.5) < 0.06
    x = films.features["image"][films.rows("train"), 0].double()
    direction = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[0]
    assert abs(pearsonr(x @ direction, lost.double()).statistic) > 0.4
    changed = replace(films, features={**films.features, "text": films.features["text"] * -3})
    again = ~missing.parse("mar(text, given=image, rate=0.5)").observed(changed, "train", 0)["text"][:, 0]
    assert torch.equal(lost, again)


def test_missing_not_at_random_depends_on_target_or_on_itself(films, clips):
    lost = ~missing.parse("mnar(text, given=target, rate=0.4)").observed(films, "train", 0)["text"][:, 0]
    drama = films.target[films.rows("train"), films.label_names.index("Drama")].bool()
    assert float(lost[drama].float().mean()) > 0.5 > 0.2 > float(lost[~drama].float().mean()) - 0.1
    comedy = missing.parse("mnar(text, given=target, rate=0.4, label=Comedy)").observed(films, "train", 0)
    funny = films.target[films.rows("train"), films.label_names.index("Comedy")].bool()
    assert float((~comedy["text"][funny, 0]).float().mean()) > 0.6
    y = clips.target[clips.rows("train")]
    lost = ~missing.parse("mnar(text, given=target, rate=0.5)").observed(clips, "train", 0)["text"].any(1)
    assert float(y[lost].mean()) > float(y[~lost].mean()) + 0.5


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([n for n in ALL if "complete" not in n]), st.integers(0, 1000), st.integers(2, 5))
def test_natural_missingness_stays_and_nobody_loses_everything(name, seed, every):
    data = lacking(synthetic.like("mosi", dim=3, length=4).sample({"train": 40, "valid": 20, "test": 20}, seed), every)
    for split in SPLITS:
        visible = missing.parse(name).observed(data, split, seed)
        for m, f in visible.items():
            assert not bool((f & ~data.observed[m][data.rows(split)]).any())
        assert bool(torch.stack([f.any(1) for f in visible.values()]).any(0).all())


def test_a_pattern_that_leaves_a_row_nothing_is_refused(films):
    data = lacking(films, 5)
    with pytest.raises(DataError, match=r"available\(image\).*row 0 .*train-000000.*having"):
        missing.parse("available(image)").observed(data, "train", 0)
    with pytest.raises(DataError, match="complex_20_40_40"):
        missing.parse("complex_20_40_40").observed(data, "train", 0)
    good = data.having("image")
    assert bool(missing.parse("available(image)").observed(good, "train", 0)["image"].all())


@pytest.mark.parametrize("name", ALL + FILMS + [
    "rates(text=0.1, audio=0.6, complete_training=true)", "rates(text=0.1) then frames(0.5)", "rates(text=0.0000001)",
    "available(text, audio)", "rate(0.2, complete_training=true)", "complex_33.3_33.3_33.4",
    "mnar(text, given=target, rate=0.4, label=Ask for help)",
])  # fmt: skip
def test_names_read_back(name):
    protocol = missing.parse(name)
    assert missing.parse(str(protocol)) == protocol
    assert protocol.complete_training == ("complete_training" in name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing_of_that_kind", "unknown.*complex_20_40_40"),
        ("complex_20_40_50", "sums to 110.*100"),
        ("60_image_60_text", "must be at 100"),
        ("rate(1.5)", r"rate 1.5 is outside 0\.\.1"),
        ("rate(nan)", "rate nan"),
        ("rate(half)", "'half', expected float"),
        ("rate()", "'rate' is missing"),
        ("rate(0.1, 1, 2)", "takes 2 arguments"),
        ("rate(0.1, loose=1)", "unknown argument 'loose'"),
        ("rate(0.1, rate=0.2)", "unknown argument 'rate'"),
        ("rate(0.1, lose=1.5)", "whole number"),
        ("rate(0.1, lose=1, lose=1)", "given twice"),
        ("rates(text=1.5)", r"'rates': rate 1.5 is outside 0\.\.1"),
        ("rates(text=-0.1)", "rate -0.1"),
        ("rates(text=nan)", "rate nan"),
        ("rates(text=most)", "'text' is 'most', expected float"),
        ("rates()", "no modality; write rates"),
        ("rates(complete_training=true)", "no modality; write rates"),
        ("rates(0.3)", "no modality for '0.3'"),
        ("rates(text=0.1, text=0.2)", "given twice"),
        ("available()", "at least one modality"),
        ("mar(text, given=text, rate=0.1)", "mnar, not mar"),
        ("complex_20_40_40(0.3)", "no argument"),
        ("rate(0.1", "cannot be read"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(DataError, match=message):
        missing.parse(name)


def test_protocols_that_do_not_fit_the_data(films, clips):
    for name, data, message in [
        ("complex_20_40_40", clips, "two modalities.*text, audio, vision"),
        ("100_audio_20_text", films, "no modality 'audio'; there are image, text"),
        ("available(audio)", films, "no modality 'audio'"),
        ("rate(0.5, lose=2)", films, "0 .any number. to 1"),
        ("rates(audio=0.1)", films, "no modality 'audio'"),
        ("rates(image=1, text=1)", films, "every modality has rate 1"),
        ("rates(text=1)", lacking(films, 5).having("text"), "row 0 .*the row would lose everything"),
        ("slots(0.7)", clips, "at most 0.667"),
        ("mar(text, given=video, rate=0.1)", films, "no modality 'video'"),
        ("mnar(text, given=target, rate=0.1, label=Dramma)", films, "label 'Dramma' is not one of"),
    ]:
        with pytest.raises(DataError, match=message):
            missing.parse(name).observed(data, "train", 0)


def test_summary_counts_every_row(films):
    table = missing.summary(films, missing.parse("complex_20_40_40"), 0)
    assert table.groupby("split")["rows"].sum().to_dict() == {"train": 500, "valid": 50, "test": 203}
    train = table[table["split"] == "train"].set_index("observed")["rows"].to_dict()
    assert train == {"image + text": 100, "image": 200, "text": 200}
    assert np.allclose(table["frames visible"], 0.6, atol=0.01)
