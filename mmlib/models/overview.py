"""Which system fits which data, and what it costs."""

import pandas as pd

from mmlib import synthetic
from mmlib.models.catalogue import MODELS
from mmlib.names import TASKS

_ROWS = {"train": 200, "valid": 20, "test": 20}
_SHORT = {
    "regression": "values",
    "multiclass": "classes",
    "multilabel": "several labels",
    "multibinary": "yes/no problems",
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
        needs = ["some complete rows"] * system.needs_complete_rows + [
            "incomplete rows, since it hides nothing"
        ] * system.hides_nothing
        lines[name] = {
            "modalities": kind.modalities,
            "tasks": "all" if kind.tasks == TASKS else ", ".join(_SHORT[task] for task in kind.tasks),
            "sequences": "yes" if kind.sequences else "vectors only",
            "training needs": ", ".join(needs) or "nothing more",
            "a prediction": ", ".join(
                text
                for trait, text in (("stochastic", "draws noise"), ("batch_dependent", "depends on batch mates"))
                if getattr(system, trait)
            ),
            "stages": len(system.stages),
            "parameters": sum(p.numel() for p in system.parameters()),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("system")
