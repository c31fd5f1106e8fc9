"""Which run is the same as another, and what makes a run that has gone through to its end no run of the study."""

import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import papermill
import pytest

import mmlib
from mmlib import runs
from mmlib.runs import versions
from mmlib.runs.__main__ import main
from mmlib.runs.execution import try_run
from mmlib.runs.imports import read_code
from tests.helpers.notebooks import RECORDING, WRITING, notebook, study

pytestmark = pytest.mark.slow


def planned(tmp_path, *entries, **options):
    return runs.plan(study(tmp_path, list(entries)), tmp_path / "out", **options)


def test_a_default_given_and_a_default_left_out_are_one_run(tmp_path):
    nb = str(notebook(tmp_path, RECORDING))
    with pytest.raises(runs.RunError, match="is there twice"):
        planned(tmp_path, {"notebook": nb, "grid": {"seed": [0, 1]}}, {"notebook": nb})
    with pytest.raises(runs.RunError, match="is there twice"):
        planned(tmp_path, {"notebook": nb, "grid": {"value": [1, 1.0]}})
    assert len(planned(tmp_path, {"notebook": nb, "grid": {"value": [1, 2], "seed": [0, 1]}})) == 4


def test_another_kernel_is_another_run(tmp_path, monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    monkeypatch.setattr(KernelSpecManager, "find_kernel_specs", lambda _: {"python3": "", "other": ""})
    nb = str(notebook(tmp_path, RECORDING))
    (one,), (other,) = (planned(tmp_path, {"notebook": nb}, kernel=k) for k in ("python3", "other"))
    assert one.folder != other.folder


def test_a_value_is_a_path_only_if_it_looks_like_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mosi").mkdir()
    entry = {"notebook": str(notebook(tmp_path, RECORDING)), "parameters": {"method": "mosi"}}
    assert planned(tmp_path, entry)[0].parameters["method"] == "mosi"
    entry["parameters"]["method"] = "./mosi"
    assert planned(tmp_path, entry)[0].parameters["method"] == str(tmp_path / "mosi")
    entry["parameters"]["method"] = "w/o " + "x" * 400  # no file has such a name
    assert planned(tmp_path, entry)[0].parameters["method"] == entry["parameters"]["method"]


def test_a_link_to_a_file_keeps_its_own_name(tmp_path):
    (tmp_path / "3fa9.npz").write_bytes(b"x")
    (tmp_path / "aligned.npz").symlink_to(tmp_path / "3fa9.npz")
    entry = {"notebook": str(notebook(tmp_path, RECORDING)), "parameters": {"method": str(tmp_path / "aligned.npz")}}
    assert planned(tmp_path, entry)[0].folder.name.startswith("tiny-method=aligned-")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of mmlib that a test may edit; versions are of its code."""
    copy = tmp_path / "copy" / "mmlib"
    shutil.copytree(Path(mmlib.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "_LIBRARY", copy)
    return copy


def edit(path, old, new):
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def stale(change):
    """The notebooks whose finished runs are not finished any more after a change of the library."""
    books = {p.stem: p for p in (runs.ROOT / "notebooks").glob("*.ipynb") if p.stem != "results"}  # that has no record
    before = {name: versions.library_hash(path, {}) for name, path in books.items()}
    change()
    return {name for name, path in books.items() if versions.library_hash(path, {}) != before[name]}


def test_words_and_plots_leave_every_finished_run_finished(library):
    def reword():
        for room in ("report", "show"):
            for path in (library / room).rglob("*.py"):
                path.write_text(path.read_text() + "\nREWORDED = 1\n")
        for path in library.rglob("*.py"):
            text = path.read_text()
            docstring = '"""Other words."""' if text.startswith('"""') else ""
            path.write_text("# A comment.\n" + docstring + text[text.index('"""', 3) + 3 :] if docstring else text)
        (library / "models" / "new.py").write_text("FACTOR = 2\n")
        (library / "models" / ".#umdf.py").symlink_to("someone@somewhere.1234")  # as an editor locks a file

    assert stale(reword) == set()


@pytest.mark.parametrize(
    ("module", "old", "new", "expected"),
    [
        ("models/umdf.py", "lambda1: float = 0.1", "lambda1: float = 0.2", {"umdf", "compare", "your_data"}),
        ("models/simc.py", "alpha: float = 0.5", "alpha: float = 0.6", {"simc", "start", "compare", "your_data"}),
        ("models/admc/diffusion.py", "start: int = 50", "start: int = 51", {"admc", "compare", "your_data"}),
        ("models/smcir/detector.py", "_RIDGE = ", "_RIDGE = 2 * ", {"smcir", "compare", "your_data"}),
        ("models/tate.py", "weight: float = 0.1", "weight: float = 0.2", {"compare", "compared"}),
        ("encode/encoders.py", "_LONGEST = ", "_LONGEST = 1 + ", {"your_data"}),
        (
            "data/dataset.py",
            "1e-6",
            "1e-7",
            {"start", "simc", "umdf", "admc", "smcir", "your_data", "compare", "compared"},
        ),
    ],
)
def test_a_factor_makes_exactly_the_runs_stale_that_use_it(library, module, old, new, expected):
    assert stale(lambda: edit(library / module, old, new)) == expected


@pytest.mark.parametrize(
    "source, fit, umdf",
    [
        ("import mmlib\nmmlib.fit(mmlib.MODELS['umdf'])", True, True),
        ("from mmlib import MODELS, fit\nfit(MODELS['umdf'])", True, True),
        ("import mmlib as m\nm.training.fit()", True, False),
        ("import mmlib.training as t\nt.fit()", True, False),
        ("import mmlib\nmmlib.read('x')", False, False),
        ("import mmlib\nmmlib.report.results('umdf')", False, False),
    ],
)
def test_names_of_the_top_level_lead_to_the_code_behind_them(tmp_path, library, source, fit, umdf):
    nb, hashes = notebook(tmp_path, source), []
    for path, old, new in (
        ("training/fit.py", "_TOLERANCE = 0.05", "_TOLERANCE = 0.06"),
        ("models/umdf.py", "lambda1: float = 0.1", "lambda1: float = 0.2"),
    ):
        before = versions.library_hash(nb, {})
        edit(library / path, old, new)
        hashes.append(versions.library_hash(nb, {}) != before)
    assert hashes == [fit, umdf]


def test_a_parameter_that_names_a_system_counts(tmp_path, library):
    nb = notebook(tmp_path, "from mmlib.models import MODELS\nMODELS[method]")

    def hashes():
        return [versions.library_hash(nb, {"method": name}) for name in ("umdf", "simc", "a")]

    before = hashes()
    edit(library / "models/umdf.py", "lambda1: float = 0.1", "lambda1: float = 0.2")
    assert [new != old for new, old in zip(hashes(), before)] == [True, False, True], "no name at all means all systems"


def test_a_kernel_gets_the_planned_library_and_its_record_checks_it(tmp_path):
    seen = "import mmlib, os\nassert mmlib.__path__[0] == os.environ['PYTHONPATH'].split(os.pathsep)[0] + '/mmlib'"
    runs.run_notebook(notebook(tmp_path, seen, RECORDING), tmp_path / "run", {})
    assert "MMLIB_PLANNED" not in os.environ
    # As if somebody had edited mmlib since the kernel started.
    edited = notebook(
        tmp_path,
        "import os\nos.environ.update(MMLIB_PLANNED='another', MMLIB_BYTES='another')",
        RECORDING,
        name="edited.ipynb",
    )
    with pytest.raises(runs.RunError, match="code of mmlib is not what the study was planned with"):
        runs.run_notebook(edited, tmp_path / "edited", {})
    assert not (tmp_path / "edited" / "record.json").exists()


def test_words_that_change_while_a_kernel_works_are_no_other_code(tmp_path, monkeypatch):
    nb = notebook(tmp_path, RECORDING)
    monkeypatch.setenv("MMLIB_NOTEBOOK", str(nb))
    monkeypatch.setenv("MMLIB_BYTES", "of files with other words")
    monkeypatch.setenv("MMLIB_PLANNED", versions.library_hash(nb, {}))
    versions.check_kernel({})
    monkeypatch.setenv("MMLIB_PLANNED", "of other code")
    with pytest.raises(runs.RunError, match="code of mmlib is not what the study was planned with"):
        versions.check_kernel({})


def test_data_that_change_while_a_run_reads_them_do_not_count(tmp_path):
    data = tmp_path / "features.npz"
    data.write_bytes(b"one")
    swap = "if seed == 0:\n    open(method, 'ab').write(b'more')"
    nb = notebook(tmp_path, swap, WRITING)
    entry = {"notebook": str(nb), "parameters": {"method": str(data)}, "grid": {"seed": [0, 1]}}
    first, second = planned(tmp_path, entry)
    for run in (first, second):
        outcome = try_run(run)
        assert outcome.state == "failed" and "content of method is not what the study was planned with" in outcome.error
        assert not run.finished
    assert (first.folder / "record.refused.json").exists() and not (second.folder / "run.ipynb").exists()
    data.write_bytes(b"one")
    assert try_run(second).state == "finished"


def test_a_cell_that_fails_after_the_record_fails_the_run(tmp_path):
    (run,) = planned(tmp_path, {"notebook": str(notebook(tmp_path, WRITING, "assert seed"))})
    for _ in range(2):  # the second call does not find it finished either
        assert try_run(run).state == "failed" and not run.finished


@pytest.mark.parametrize(("silent", "state"), [(1, "finished"), (2, "failed")])
def test_a_kernel_that_does_not_answer_gets_a_second_try(silent, state, tmp_path, monkeypatch):
    (run,) = planned(tmp_path, {"notebook": str(notebook(tmp_path, WRITING))})
    execute, calls = papermill.execute_notebook, []

    def sometimes(*arguments, **options):
        calls.append(arguments)
        if len(calls) <= silent:
            raise RuntimeError("Kernel didn't respond in 60 seconds")
        return execute(*arguments, **options)

    monkeypatch.setattr(papermill, "execute_notebook", sometimes)
    outcome = try_run(run)
    assert outcome.state == state and len(calls) == 2
    assert state == "finished" or "Kernel didn't respond" in outcome.error


def test_one_process_executes_one_run_at_a_time(tmp_path):
    here = f"import os\nassert os.getcwd() == {str(tmp_path)!r} + '/' + method, os.getcwd()"
    entries = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        nb = notebook(tmp_path / name, "print('this is', method, seed)", here, WRITING)
        entries.append({"notebook": str(nb), "parameters": {"method": name}, "grid": {"seed": [0, 1]}})
    several = planned(tmp_path, *entries)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(try_run, several))
    assert [o.state for o in outcomes] == ["finished"] * 4, outcomes
    for run in several:
        said = [line for line in (run.folder / "log.txt").read_text().splitlines() if line.startswith("this is")]
        assert said == [f"this is {run.parameters['method']} {run.parameters['seed']}"]


def test_notebooks_of_one_name_in_two_folders_are_reported(tmp_path, capsys):
    entries = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        entries.append({"notebook": str(notebook(tmp_path / name, f"{name!r}.upper()", WRITING))})
    assert main([str(study(tmp_path, entries)), "--out", str(tmp_path / "out"), "--workers", "2"]) == 0
    assert "2 runs finished, 0 failed" in capsys.readouterr().out


def test_collect_says_that_code_differs(tmp_path):
    for seed in (0, 1):
        nb = notebook(tmp_path, f"VERSION = {seed}", WRITING)
        runs.run_notebook(nb, tmp_path / "out" / str(seed), {"seed": seed})
    with pytest.warns(UserWarning, match="the runs of tiny.ipynb are of 2 versions"):
        assert len(runs.collect(tmp_path / "out")) == 2
    shutil.rmtree(tmp_path / "out" / "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs.collect(tmp_path / "out")
    (tmp_path / "out" / "0" / "params.json").write_text("{")
    with pytest.raises(runs.RunError, match="params.json is damaged"):
        runs.collect(tmp_path / "out")


def test_params_hold_every_parameter(tmp_path):
    nb = notebook(tmp_path, "assert seed", RECORDING)
    for _ in range(2):
        with pytest.raises(runs.CellError):
            runs.run_notebook(nb, tmp_path / "run", {"value": 2})
    asked = json.loads((tmp_path / "run" / "params.json").read_text())["parameters"]
    assert list(asked) == ["value", "method", "seed"] and asked["method"] == "a" and asked["value"] == 2.0


def test_braces_in_a_folder_are_no_parameters(tmp_path):
    nb = notebook(tmp_path, WRITING)
    assert runs.run_notebook(nb, tmp_path / "{here}", {}) == Path(tmp_path, "{here}", "record.json")


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    from mmlib.files import write

    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    write(tmp_path / "record.json", "{}", exclusive=True)
    with pytest.raises(FileExistsError):
        write(tmp_path / "record.json", "{}", exclusive=True)
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_mapping_whose_keys_are_not_text_is_no_registry():
    assert read_code("grid = {settings[0]: lr, None: x}\nMODELS = {'a': A}").registry == {"a": "A"}
