"""MMIN's folder of IEMOCAP, as small as a test needs."""

import h5py
import numpy as np

# id, split, class, and how many frames of text, audio and vision (None: the file lacks the utterance)
UTTERANCES = [
    ("Ses01F_impro01_F000", "trn", 2, (2, 3, 1)),
    ("Ses01F_impro01_M013", "trn", 0, (1, 1, None)),
    ("Ses02M_script01_1b_F004", "trn", 3, (None, 5, 2)),
    ("Ses03M_script03_2_MXX1", "val", 1, (4, None, None)),
    ("Ses05F_impro08_M021", "tst", 1, (3, 2, 4)),
]
FILES = {"text": ("L/bert_large.h5", 1024), "audio": ("A/comparE.h5", 130), "vision": ("V/denseface.h5", 342)}
SHORT = {"trn": "train", "val": "valid", "tst": "test"}


def features(m, name, length):
    """Frames that tell modality, utterance and place."""
    start = 100 * list(FILES).index(m) + sum(map(ord, name)) / 7
    return (start + np.arange(length * FILES[m][1]).reshape(length, FILES[m][1]) / 1000).astype(np.float32)


def write(root, utterances=UTTERANCES, folds=(1, 2), names=lambda ids: np.array([[i.encode()] for i in ids])):
    """The folder of the release; in fold 2, val and tst change places."""
    for m, (file, _) in FILES.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(root / file, "w") as h5:
            for name, _, _, lengths in utterances:
                length = lengths[list(FILES).index(m)]
                if length is not None:
                    h5[name] = features(m, name, length)
    with h5py.File(root / "A/comparE_mean_std.h5", "w") as h5:
        for fold in folds:
            h5[f"{fold}/mean"] = np.linspace(-3, 3, 130) * fold
            h5[f"{fold}/std"] = np.r_[0.0, np.linspace(0.5, 2, 129)]
    for fold in folds:
        folder = root / "target" / str(fold)
        folder.mkdir(parents=True)
        for split in SHORT:
            wanted = {"val": "tst", "tst": "val"}.get(split, split) if fold == 2 else split
            rows = [u for u in utterances if u[1] == wanted]
            np.save(folder / f"{split}_label.npy", np.eye(4)[[u[2] for u in rows]])
            np.save(folder / f"{split}_int2name.npy", names([u[0] for u in rows]))
    return root
