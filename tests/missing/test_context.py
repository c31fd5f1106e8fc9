"""A table is told where a protocol hides frames that contextual neighbours still tell of."""

from dataclasses import replace

import pytest

from mmlib import missing, synthetic


@pytest.fixture(scope="module")
def clips():
    return synthetic.like("mosi", dim=5, length=7).sample({"train": 3, "valid": 2, "test": 40}, 1)


def contextual(data, *modalities):
    return replace(data, provenance={**data.provenance, "contextual": list(modalities)})


@pytest.mark.parametrize(
    "name", ["frames(0.5)", "frames(0.5, keep=audio)", "available(text) then frames(0.5)", "rate(0.5) then frames(0.9)"]
)
def test_hidden_frames_of_a_contextual_encoder(clips, name):
    said = missing.warning(contextual(clips, "text"), missing.parse(name))
    assert said.startswith(
        "text frames are hidden after a contextual encoder: the frames that are left still tell of them"
    )
    assert missing.warning(clips, missing.parse(name)) == ""


@pytest.mark.parametrize(
    "name",
    [
        "complete", "rate(0.5)", "patterns", "slots(0.5)", "frames(0)", "frames(0.5, keep=text)",
        "available(audio, vision) then frames(0.5)",
    ],
)  # fmt: skip
def test_modalities_that_are_whole_or_gone(clips, name):
    assert missing.warning(contextual(clips, "text"), missing.parse(name)) == ""


def test_several_modalities_are_named(clips):
    assert missing.warning(contextual(clips, "audio", "text"), missing.parse("frames(0.5)")).startswith(
        "text and audio fr"
    )
    assert missing.warning(contextual(clips.pooled(), "text"), missing.parse("frames(0.5)")) == ""
