"""Words hidden before the encoder: those that frames(P) hides, and nothing that is left tells of them."""

import csv

import numpy as np
import pytest
import torch

from mmlib import missing
from mmlib.data.archive import read
from mmlib.encode.encode import encode, main
from mmlib.encode.encoders import clip_encoders, custom, tokens
from mmlib.encode.hide import hidden
from mmlib.encode.manifest import manifest
from mmlib.names import SPLITS, DataError
from tests.encode.conftest import WORDS

VOCABULARY = sorted({word for text in WORDS for word in text.replace(",", "").split()})
SEED = 3


def rows(change=lambda i, words: words):
    """Forty sentences of 1 to 6 words of the tiny BERT's vocabulary; `change` sees the words of each row."""
    lot = np.random.default_rng(0)
    texts = [list(lot.choice(VOCABULARY, lot.integers(1, 7))) for _ in range(40)]
    return manifest([
        {"id": f"r{i}", "text": " ".join(change(i, words)), "label": "ab"[i % 2], "split": SPLITS[i % 3]}
        for i, words in enumerate(texts)
    ])  # fmt: skip


@pytest.fixture
def fresh(tmp_path):
    """Encodes in a cache of its own."""
    count = iter(range(100))

    def encoded(rows, encoder, **options):
        options = {"cache": tmp_path / f"cache{next(count)}", "batch": 7, "progress": False} | options
        return encode(rows, encoder if isinstance(encoder, dict) else {"text": encoder}, **options)

    return encoded


def lengths():
    """One frame for each word: the number of its letters."""
    return custom(
        lambda batch: [torch.tensor([[float(len(w))] for w in text.split()]) for text in batch], "lengths", "1"
    )


def visible(data, rate):
    """Per row, in file order, the frames that frames(rate) leaves."""
    parts = {s: missing.parse(f"frames({rate})").observed(data, s, SEED)["text"] for s in SPLITS}
    places = {int(row): f for s, part in parts.items() for row, f in zip(data.rows(s), part)}
    return [places[i][data.observed["text"][i]].tolist() for i in range(len(data))]


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9, 1.0])
def test_a_frame_for_each_word_the_words_of_frames(fresh, rate):
    whole, less = fresh(rows(), lengths()), fresh(rows(), lengths(), hide=rate, seed=SEED)
    for i, shown in enumerate(visible(whole, rate)):
        after = whole.features["text"][i][: len(shown)][shown]
        assert torch.equal(less.features["text"][i][less.observed["text"][i]], after)


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9])
def test_word_pieces_those_of_frames_and_special_tokens_stay(fresh, tiny_bert, rate):
    from transformers import AutoTokenizer

    encoder, tokenizer, checked = tokens(tiny_bert, 7), AutoTokenizer.from_pretrained(tiny_bert), 0
    whole = fresh(rows(), encoder)
    left = hidden(rows(), encoder, rate, SEED)[0].contents["text"]
    for text, shown, ids in zip(rows().contents["text"], visible(whole, rate), left):
        before, *pieces, after = tokenizer(text, truncation=True, max_length=7)["input_ids"]
        kept = [piece for piece, seen in zip(pieces, shown[1:-1]) if seen]
        assert (ids[0], ids[-1]) == (before, after) and len(ids) >= 3
        if kept:
            assert list(ids[1:-1]) == kept
            checked += 1
    assert checked > 8


def test_the_features_of_a_text_with_hidden_words_do_not_depend_on_them(fresh, tiny_bert):
    encoder = tokens(tiny_bert, 12)
    whole = fresh(rows(), encoder)
    shown = visible(whole, 0.5)

    def others(i, words):
        """Another word in place of each hidden one, but none where frames(0.5) leaves special tokens alone."""
        if not any(shown[i][1:-1]):
            return words
        other = [VOCABULARY[(VOCABULARY.index(word) + 1) % len(VOCABULARY)] for word in words]
        return [word if seen else new for word, new, seen in zip(words, other, shown[i][1:-1])]

    changed = rows(others)
    assert sum(a != b for a, b in zip(rows().contents["text"], changed.contents["text"])) > 20
    first, second = (fresh(r, encoder, hide=0.5, seed=SEED) for r in (rows(), changed))
    assert torch.equal(first.features["text"], second.features["text"])
    # Frames hidden afterwards do tell: the frames that both sentences share differ.
    told = fresh(changed, encoder).features["text"] - whole.features["text"]
    assert any(told[i][: len(f)][f].abs().max() > 1e-4 for i, f in enumerate(shown))


def test_a_vector_of_the_words_that_are_left(fresh, tiny_clip):
    encoder = clip_encoders(tiny_clip)["text"]
    less = fresh(rows(), encoder, hide=0.5, seed=SEED)
    parts = {i: text for i, text in enumerate(hidden(rows(), encoder, 0.5, SEED)[0].contents["text"])}
    by_hand = fresh(rows(lambda i, words: parts[i].split()), encoder)
    assert torch.equal(less.features["text"], by_hand.features["text"]) and less.contextual == ()


def test_everything_hidden_leaves_one_word(fresh, tiny_bert):
    data = fresh(rows(), tokens(tiny_bert, 12), hide=1.0)
    assert set(data.observed["text"].sum(1).tolist()) == {3}


def test_cached_features_are_not_mixed_up(fresh, tiny_bert, tmp_path):
    encoder, shared = tokens(tiny_bert, 12), tmp_path / "shared"
    twins = rows(lambda i, words: VOCABULARY[:8])
    for options in ({}, {"hide": 0.5}, {"hide": 0.5, "seed": 1}, {"hide": 0.2}, {}):
        warm, cold = fresh(twins, encoder, cache=shared, **options), fresh(twins, encoder, **options)
        assert torch.equal(warm.observed["text"], cold.observed["text"])
        torch.testing.assert_close(warm.features["text"], cold.features["text"], rtol=1e-4, atol=1e-5)
    first, second = (hidden(twins, encoder, 0.5, seed)[0].contents["text"] for seed in (0, 1))
    assert first != second and len(set(first)) > 30  # the same text loses other words in another row


def test_a_wrong_probability_or_nothing_to_hide_is_refused(fresh, tmp_path):
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(DataError, match="hide is .*; it must be a probability"):
            fresh(rows(), lengths(), hide=rate)
    (tmp_path / "x.raw").write_bytes(b"ab")
    sounds = [{"id": s, "audio": "x.raw", "label": "ab"[i % 2], "split": s} for i, s in enumerate(SPLITS)]
    loud = {"audio": custom(lambda batch: torch.ones(len(batch), 2), "loud", "1")}
    with pytest.raises(
        DataError, match="'text': there are no words to hide; only texts lose words, pictures and sounds are"
    ):
        fresh(manifest(sounds, folder=tmp_path), loud, hide=0.5)


def test_the_archive_says_so_and_without_hiding_nothing_changes(tmp_path, tiny_bert):
    table = rows()
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        lines = zip(table.ids, table.contents["text"], table.split, [table.label_names[int(y)] for y in table.target])
        csv.writer(file).writerows([("id", "text", "split", "label"), *lines])

    def archive(name, *more):
        out = tmp_path / name / "films.npz"
        out.parent.mkdir()
        command = f"{tmp_path} --text-model {tiny_bert} --max-tokens 12 --cache {out.parent}/cache --out {out}".split()
        assert main([*command, *more]) == 0
        return out

    plain, zero = archive("plain"), archive("zero", "--hide", "0")
    half = archive("half", "--hide", "0.5", "--seed", str(SEED))
    assert plain.read_bytes() == zero.read_bytes()
    before, after = read(plain), read(half)
    assert before.provenance["warnings"] == [] and before.contextual == after.contextual == ("text",)
    assert after.provenance["contextual"] == ["text"]
    _, said = hidden(table, tokens(tiny_bert, 12), 0.5, SEED)
    assert after.provenance["warnings"] == [f"text: {said}"] and after.provenance["features"]["text"].endswith(said)
    words = sum(len(text.split()) for text in table.contents["text"])
    lost = words + 2 * len(table.ids) - int(after.observed["text"].sum())
    assert said == (
        f"{lost} of {words} word pieces were hidden before the encoder, each with probability 0.5, as frames(0.5) draws "
        "them from seed 3"
    )
