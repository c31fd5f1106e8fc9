"""MM-IMDb's HDF5 file and raw folder, written here as the release has them; anything else is refused."""

import json
import os
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib import corpora
from mmlib.names import DataError
from mmlib.releases import mmimdb
from tests.helpers.processes import in_own_process

FILMS = ["0000008", "0012349", "0111161", "1234567", "7654321"]
SPLIT = ["train", "train", "valid", "valid", "test"]
GENRES = (
    "Drama", "Comedy", "Romance", "Thriller", "Crime", "Action", "Adventure", "Horror", "Documentary", "Mystery", "Sci-Fi",
    "Fantasy", "Family", "Biography", "War", "History", "Music", "Animation", "Musical", "Western", "Sport", "Short",
    "Film-Noir",
)  # fmt: skip


def arrays():
    text = np.arange(5 * 300, dtype=np.float32).reshape(5, 300) / 7 + 1
    image = np.arange(5 * 4096, dtype=np.float32).reshape(5, 4096) / 7 + 1
    genres = np.zeros((5, 23), np.int32)
    genres[[0, 0, 1, 3, 4], [0, 22, 3, 0, 5]] = 1
    return {"features": text, "vgg_features": image, "genres": genres, "imdb_ids": np.array(FILMS, "S7")}


def write(path, **changes):
    """The HDF5 release, with what this library does not read beside."""
    with h5py.File(path, "w") as file:
        for key, array in {**arrays(), **changes}.items():
            if array is not None:
                file[key] = array
        file.create_dataset("images", (5, 3, 256, 160), "u1")
        file.create_dataset("sequences", (5,), h5py.vlen_dtype("i4"))[0] = [1, 2]
        file.attrs["split"] = np.array([(b"train", file["features"].ref)], [("s", "S5"), ("r", h5py.ref_dtype)])
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "multimodal_imdb.hdf5")


def refused(path, *texts, reader=mmimdb.dataset, **options):
    options = {"split": SPLIT, **options} if reader is mmimdb.dataset else options
    with pytest.raises(DataError) as caught:
        reader(path, **options)
    for text in (str(path), *texts):
        assert text in str(caught.value)


def test_every_column(path):
    data = mmimdb.dataset(path, split=SPLIT, label_names=GENRES)
    assert (data.name, data.task, data.label_names) == ("MM-IMDb", "multilabel", GENRES)
    assert data.ids.tolist() == FILMS and data.split.tolist() == SPLIT
    assert data.target.tolist() == arrays()["genres"].tolist() and data.target.dtype == torch.float32
    assert data.modalities == ("text", "image") and data.dims == {"text": 300, "image": 4096}
    assert np.array_equal(data.features["text"][:, 0], arrays()["features"])
    assert np.array_equal(data.features["image"][:, 0], arrays()["vgg_features"])
    assert all(frames.all() and frames.shape == (5, 1) for frames in data.observed.values())
    assert data.group is data.order is data.speaker is data.fold is None
    assert data.provenance == {
        "file": str(path),
        "name": "MM-IMDb",
        "release": "MM-IMDb",
        "features": {"text": "mean of the plot's word2vec vectors (300-d)", "image": "VGG of the poster (4096-d)"},
        "split_source": "given by the caller",
        "repaired": {"text": 0, "image": 0},
        "warnings": [],
        "licence_note": "published for research; posters and plots stay with their owners",
    }


def test_recognised_by_its_names(path, tmp_path):
    assert mmimdb.fits(path) and mmimdb.fits(tmp_path)
    assert mmimdb.dataset(tmp_path, split=SPLIT).fingerprint == mmimdb.dataset(path, split=SPLIT).fingerprint
    copy = path.rename(tmp_path / "mmIMDb copy.h5")
    assert mmimdb.fits(copy) and not mmimdb.fits(tmp_path) and not mmimdb.fits(path)
    copy.rename(tmp_path / "imdb.npz")
    assert not mmimdb.fits(tmp_path / "imdb.npz") and not mmimdb.fits(tmp_path / "absent")


def test_the_complete_file_has_the_official_row_ranges_and_names_its_columns(path, monkeypatch):
    monkeypatch.setattr(mmimdb, "SIZES", {"train": 2, "valid": 1, "test": 2})
    films = {genre: i for i, genre in enumerate(reversed(GENRES))}
    monkeypatch.setattr(mmimdb, "MMIMDB_GENRES", films)
    genres = np.zeros((24, 23), np.int32)
    columns = sorted(GENRES)
    for column, genre in enumerate(columns):
        genres[: films[genre], column] = 1
    more = {"features": np.ones((24, 300)), "vgg_features": np.ones((24, 4096)), "imdb_ids": np.arange(24).astype("S7")}
    monkeypatch.setattr(mmimdb, "SIZES", {"train": 20, "valid": 1, "test": 3})
    data = mmimdb.dataset(write(path, genres=genres, **more))
    assert data.split.tolist() == ["train"] * 20 + ["valid"] + ["test"] * 3
    assert data.label_names == tuple(columns)
    assert data.provenance["split_source"] == "official row ranges" and data.provenance["warnings"] == []
    genres[23, 4] = 1
    data = mmimdb.dataset(write(path, genres=genres, **more))
    assert data.label_names == tuple(f"genre {i}" for i in range(23))
    assert data.provenance["warnings"] == [
        "the genre columns are only numbered: their counts are not the release's; pass label_names="
    ]


def test_published_sizes_and_genres():
    assert mmimdb.SIZES == {"train": 15_552, "valid": 2_608, "test": 7_799} and list(mmimdb.SIZES)[1] == "valid"
    assert mmimdb.GENRES == GENRES
    assert len({corpora.MMIMDB_GENRES[genre] for genre in GENRES}) == 23


def test_an_incomplete_file_needs_a_split(path):
    refused(path, "has 5 films, expected the release's 25959", "pass split=", split=None)
    refused(path, "split= has shape (4,), expected (5,)", split=SPLIT[:4])
    refused(path, "'dev'", "train, valid, test", split=["train", "dev", "test", "test", "test"])


def test_label_names_that_cannot_be(path):
    refused(path, "label_names are 2, expected 23", label_names=("a", "b"))
    refused(path, "23 different", label_names=["a"] * 23)
    assert mmimdb.dataset(path, split=SPLIT, label_names=list(GENRES)).label_names == GENRES


def test_zeros_are_an_absent_modality_and_films_without_any_are_dropped(path):
    changes = arrays()
    changes["features"][[0, 2]] = 0
    changes["features"][2, 5] = np.nan
    changes["vgg_features"][[2, 4]] = 0
    changes["vgg_features"][1, :2] = [-np.inf, np.inf]
    data = mmimdb.dataset(write(path, **changes), split=SPLIT)
    assert data.ids.tolist() == [FILMS[i] for i in (0, 1, 3, 4)] and data.split.tolist() == [
        SPLIT[i] for i in (0, 1, 3, 4)
    ]
    assert data.target.tolist() == arrays()["genres"][[0, 1, 3, 4]].tolist()
    assert data.observed["text"].tolist() == [[False], [True], [True], [True]]
    assert data.observed["image"].tolist() == [[True], [True], [True], [False]]
    assert data.features["image"][1, 0, :3].tolist() == [0, 0, arrays()["vgg_features"][1, 2]]
    assert data.provenance["repaired"] == {"text": 1, "image": 2}
    assert data.provenance["warnings"][1:] == [
        "2 films have no text",
        "2 films have no image",
        "1 films without any features were dropped",
    ]


BAD_ARRAYS = {
    "no text": ({"features": np.ones((5, 300))[:0]}, ("field 'features'", "(0, 300), expected numbers (5, 300)")),
    "narrow text": ({"features": np.ones((5, 299))}, ("field 'features'", "float64 (5, 299)", "(5, 300)")),
    "fewer images": ({"vgg_features": np.ones((4, 4096))}, ("field 'vgg_features'", "(4, 4096)", "(5, 4096)")),
    "all genres": ({"genres": np.ones((5, 27), int)}, ("field 'genres'", "(5, 27)", "(5, 23)")),
    "number ids": ({"imdb_ids": np.arange(5)}, ("field 'imdb_ids'", "int64 (5,)", "texts of fixed length")),
    "variable ids": ({"imdb_ids": np.array(FILMS, object)}, ("field 'imdb_ids'", "texts of fixed length")),
    "the same film twice": ({"imdb_ids": np.array([b"a"] * 5)}, ("'ids'", "also row 0")),
    "no ids": ({"imdb_ids": None}, ("field 'imdb_ids'", "is missing")),
    "no images": ({"vgg_features": None}, ("field 'vgg_features'", "is missing")),
    "a genre that is 2": ({"genres": np.full((5, 23), 2)}, ("'target'", "neither 0 nor 1")),
    "a genre that is NaN": ({"genres": np.full((5, 23), np.nan)}, ("'target'", "neither 0 nor 1")),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(path, case):
    changes, texts = BAD_ARRAYS[case]
    refused(write(path, **changes), *texts)


def test_nothing_is_read_before_all_headers_are_right(path, monkeypatch):
    monkeypatch.setattr("mmlib.releases.hdf5.Hdf5.read", None)
    monkeypatch.setattr("mmlib.releases.hdf5.Hdf5.texts", None)
    refused(write(path, genres=np.ones((5, 22))), "field 'genres'")
    refused(write(path), "pass split=", split=None)


def test_other_files_under_that_name(path, tmp_path):
    with h5py.File(path, "a") as file:
        del file["vgg_features"]
        file["vgg_features"] = h5py.ExternalLink("other.h5", "/x")
    refused(path, "field 'vgg_features'", "link")
    path.write_bytes(write(path).read_bytes()[:-100])
    refused(path, "again")
    path.write_text("hello")
    refused(path, "not an HDF5 file")
    refused(tmp_path / "absent.hdf5", "No such file")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sets(st.integers(0, 4)), image=st.sets(st.integers(0, 4)))
def test_any_missing_features(path, text, image):
    changes = arrays()
    changes["features"][list(text)] = 0
    changes["vgg_features"][list(image)] = 0
    write(path, **changes)
    kept = [i for i in range(5) if i not in text & image]
    if {SPLIT[i] for i in kept} != set(SPLIT):
        refused(path, "rows")
        return
    data = mmimdb.dataset(path, split=SPLIT)
    assert data.ids.tolist() == [FILMS[i] for i in kept]
    assert data.present["text"].tolist() == [i not in text for i in kept]
    assert data.present["image"].tolist() == [i not in image for i in kept]
    assert np.array_equal(data.features["text"][:, 0], changes["features"][kept])


def mutations(path):
    """What becomes of the data set when one byte of the file is wrong."""
    content, outcomes = path.read_bytes(), Counter()
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    for i in range(100):
        mutated = bytearray(content)
        mutated[used[rng.integers(len(used) if i % 2 else 400)]] = rng.choice([0, 1, 127, 255, rng.integers(256)])
        path.write_bytes(mutated)
        try:
            data = mmimdb.dataset(path, split=SPLIT)
            assert len(data) == 5 and data.dims == {"text": 300, "image": 4096}
            outcomes["read"] += 1
        except DataError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
    return outcomes


def test_any_mutation_is_refused_or_read(path):
    outcomes = in_own_process(mutations, path)
    assert outcomes.total() == 100 and outcomes["read"] and outcomes["refused"]


# The raw folder: plots, genres, poster and split of each film (None: there is no json, or no poster)
RAW = {
    "0000008": (["A plot.", "Another."], ["Comedy", "Drama", "News"], b"\xff\xd8", "train"),
    "0012349": (["Only one é."], ["Film-Noir"], None, "train"),
    "0111161": ([], ["Crime"], b"\xff\xd8", "dev"),
    "0222222": (["News only."], ["News", "Adult", "Talk-Show", "Reality-TV"], b"\xff\xd8", "dev"),
    "0333333": ([" "], ["War"], b"", "dev"),
    "0444444": (None, None, b"\xff\xd8", "test"),
    "1234567": (["", "Second."], ["Sport"], b"\xff\xd8", "test"),
}


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "mmimdb"
    (root / "dataset").mkdir(parents=True)
    splits = {split: [name for name, film in RAW.items() if film[3] == split] for split in ("train", "dev", "test")}
    (root / "split.json").write_text(json.dumps(splits))
    for name, (plots, genres, poster, _) in RAW.items():
        if plots is not None:
            film = {"title": "x", "plot": plots, "genres": genres, "year": 1999, "cast": [{"name": "y"}]}
            (root / "dataset" / f"{name}.json").write_text(json.dumps(film))
        if poster is not None:
            (root / "dataset" / f"{name}.jpeg").write_bytes(poster)
    return root


def test_manifest_has_one_row_for_each_film(raw):
    films = mmimdb.manifest(raw)
    posters = {name: raw / "dataset" / f"{name}.jpeg" for name in RAW}
    assert films == [
        {
            "id": "0000008",
            "text": "A plot.",
            "image": posters["0000008"],
            "genres": ["Drama", "Comedy"],
            "split": "train",
        },
        {"id": "0012349", "text": "Only one é.", "image": None, "genres": ["Film-Noir"], "split": "train"},
        {"id": "0111161", "text": None, "image": posters["0111161"], "genres": ["Crime"], "split": "valid"},
        {"id": "1234567", "text": None, "image": posters["1234567"], "genres": ["Sport"], "split": "test"},
    ]
    assert sorted(films.warnings) == [
        "1 films have no image",
        "1 films have no json",
        "1 films without plot and poster were dropped",
        "2 films have no text",
        "2 films without a genre of the benchmark were dropped",
    ]


def test_another_plot_of_each_film(raw):
    texts = {film["id"]: film["text"] for film in mmimdb.manifest(raw, plot=1)}
    assert texts == {"0000008": "Another.", "0111161": None, "1234567": "Second."}
    refused(raw, "plot is -1", reader=mmimdb.manifest, plot=-1)


def test_the_raw_folder_is_recognised_and_sent_to_the_encoder(raw):
    assert mmimdb.fits(raw)
    refused(raw, "is the raw release", "mmlib.encode")
    (raw / "split.json").unlink()
    assert not mmimdb.fits(raw)
    refused(raw, "split.json", "No such file", reader=mmimdb.manifest)


BAD_SPLITS = {
    "not JSON": ("{", ("is not JSON",)),
    "deep": ("[" * 100_000, ("is not JSON",)),
    "list": ("[]", ("JSON list, expected an object",)),
    "no dev": ('{"train": [], "test": []}', ("key 'dev'", "missing")),
    "numbers": ('{"train": [8], "dev": [], "test": []}', ("key 'train'", "[8]", "list of texts")),
    "text": ('{"train": "0000008", "dev": [], "test": []}', ("key 'train'", "list of texts")),
    "path": ('{"train": ["../../secret"], "dev": [], "test": []}', ("'../../secret'", "no film id")),
    "twice": ('{"train": ["a"], "dev": [], "test": ["a"]}', ("key 'test'", "'a' is also in train")),
}


@pytest.mark.parametrize("case", BAD_SPLITS)
def test_bad_split_files(raw, case):
    content, texts = BAD_SPLITS[case]
    (raw / "split.json").write_text(content)
    refused(raw, "split.json", *texts, reader=mmimdb.manifest)


BAD_FILMS = {
    "not JSON": (b"{'plot': 1}", ("is not JSON",)),
    "not text": (b"\xff\xff\xff", ("is not JSON",)),
    "deep": (b"[" * 100_000, ("is not JSON",)),
    "long number": (b"1" * 5000, ("is not JSON",)),
    "list": (b"[1]", ("JSON list",)),
    "plot": (b'{"plot": "A plot.", "genres": ["War"]}', ("key 'plot'", "A plot.", "list of texts")),
    "genres": (b'{"plot": [], "genres": [["War"]]}', ("key 'genres'", "list of texts")),
    "size": (b" " * 2**21, ("over 1048576 bytes",)),
}


@pytest.mark.parametrize("case", BAD_FILMS)
def test_bad_film_files(raw, case):
    content, texts = BAD_FILMS[case]
    (raw / "dataset" / "0012349.json").write_bytes(content)
    refused(raw, os.path.join("dataset", "0012349.json"), *texts, reader=mmimdb.manifest)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(films=st.dictionaries(st.sampled_from(sorted(RAW)), st.dictionaries(
    st.sampled_from(["plot", "genres"]), st.lists(st.sampled_from(["", "War", "News", "Short"]), max_size=3))))  # fmt: skip
def test_any_missing_keys(raw, films):
    for name in RAW:
        file = raw / "dataset" / f"{name}.json"
        file.unlink(missing_ok=True)
        if name in films:
            file.write_text(json.dumps(films[name]))
    rows = {row["id"]: row for row in mmimdb.manifest(raw)}
    for name in RAW:
        film = films.get(name, {})
        genres = sorted({"War", "Short"} & set(film.get("genres", [])), reverse=True)
        text = (film.get("plot") or [""])[0] or None
        poster = bool(RAW[name][2])
        assert (name in rows) == (bool(genres) and (poster or text is not None))
        if name in rows:
            row = rows[name]
            assert (row["genres"], row["text"], row["image"] is not None) == (genres, text, poster)
