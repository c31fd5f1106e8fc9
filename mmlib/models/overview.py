"""Which system fits which data, and what it costs."""

import pandas as pd

from mmlib import synthetic
from mmlib.models.base import System
from mmlib.models.catalogue import MODELS
from mmlib.names import TASKS

_ROWS = {"train": 200, "valid": 20, "test": 20}
_SHORT = {
    "regression": "values",
    "multiclass": "classes",
    "multilabel": "several labels",
    "multibinary": "yes/no problems",
}
_NEEDS = {
    "needs_complete_rows": "some complete rows",
    "hides_nothing": "incomplete rows, since it hides nothing",
    "needs_dialogues": "dialogues",
}
_PREDICTION = {
    "stochastic": "draws noise",
    "batch_dependent": "depends on batch mates",
    "needs_dialogues": "reads the whole dialogue",
}


def table() -> pd.DataFrame:
    """A line per name of MODELS: modalities, tasks, sequences, what training needs, traits, stages and parameters.

    Stages and parameters are those of the defaults for 200 rows with text, audio and vision, 32 numbers wide (for systems of
    two modalities text and audio). A step costs about as much as the parameters tell; sequences cost more.
    """
    data = synthetic.like("iemocap", dim=32, length=10).sample(_ROWS, 0)
    lines = {}
    for name, kind in MODELS.items():
        few = data.only("text", "audio") if kind.modalities == "two" else data
        example = few if kind.sequences else few.pooled()
        example = example if "multiclass" in kind.tasks else example.one_vs_rest()
        system = kind.for_data(example, **({"modality": "text"} if name == "unimodal" else {}))
        lines[name] = {
            "modalities": kind.modalities,
            "tasks": "all" if kind.tasks == TASKS else ", ".join(_SHORT[task] for task in kind.tasks),
            "sequences": "yes" if kind.sequences else "vectors only",
            "training needs": _told(system, _NEEDS) or "nothing more",
            "a prediction": _told(system, _PREDICTION),
            "stages": len(system.stages),
            "parameters": sum(p.numel() for p in system.parameters()),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("system")


def _told(system: System, traits: dict[str, str]) -> str:
    return ", ".join(text for trait, text in traits.items() if getattr(system, trait))
