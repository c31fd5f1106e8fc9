"""MIntRec's folder as its release has it, with five clips of numbers that follow from their names."""

import pickle

import numpy as np

# season, episode, clip, text, label, and how many frames of audio and video (None: the file lacks the clip)
CLIPS = {
    "train": [
        ("S04", "E01", "110", 'He said "no" \'twice', "Complain", (3, 2)),
        ("S04", "E01", "111", "thanks, caf\u00e9\u2028 friend", "Thank", (1, None)),
        ("S05", "E16", "329", "okay", "Advise", (None, 4)),
    ],
    "dev": [("S05", "E02", "7", "no way", "Oppose", (2, 1))],
    "test": [("S06", "E06", "589", "", "Ask for help", (5, 3))],
}
IDS = ["S04_E01_110", "S04_E01_111", "S05_E16_329", "S05_E02_7", "S06_E06_589"]
INTENTS = (
    "Advise|Agree|Apologise|Arrange|Ask for help|Care|Comfort|Complain|Criticize|Flaunt|Greet|Inform|Introduce|Joke|"
    "Leave|Oppose|Praise|Prevent|Taunt|Thank"
)
AUDIO, VIDEO = "audio_data/audio_feats.pkl", "video_data/video_feats.pkl"


def audio(name, length):
    return (sum(map(ord, name)) + np.arange(length * 768).reshape(length, 768) / 1000).astype(np.float32)


def video(name, length):
    return (-sum(map(ord, name)) - np.arange(length * 256).reshape(length, 1, 256) / 1000).astype(np.float32)


def dump(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content))


def write(root, clips=CLIPS):
    """The folder of the release."""
    root.mkdir(exist_ok=True)
    sounds, frames = {}, {}
    for split, rows in clips.items():
        lines = ["season\tepisode\tclip\ttext\tlabel"]
        for season, episode, clip, text, label, (heard, seen) in rows:
            lines.append("\t".join((season, episode, clip, text, label)))
            name = "_".join((season, episode, clip))
            if heard is not None:
                sounds[name] = audio(name, heard)
            if seen is not None:
                frames[name] = video(name, seen)
        (root / f"{split}.tsv").write_bytes(("\n".join(lines) + "\n").encode())
    dump(root / AUDIO, sounds)
    dump(root / VIDEO, frames)
    return root
