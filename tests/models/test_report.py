"""``python -m models report``: what it measures, the gallery, and the list of the README."""

import json
import subprocess
import sys

import pytest

from models import __main__ as command
from models import _pages, _report, digits, sine
from tests.models.cases import QUICK

COMMANDS = {"digits": digits.main, "sine": sine.main}
LOADED = {name: command.load(name).main for name in command.names()}
HANG = {"memory", "wordlm"}  # whose results hang on the seed


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Results, pictures and README in a folder of the test; trainings of a moment in this process."""
    monkeypatch.setattr(_report, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(_report, "PICTURES", tmp_path / "docs")
    monkeypatch.setattr(_report, "README", tmp_path / "README.md")
    monkeypatch.setattr(_report, "GALLERY", tmp_path / "docs" / "gallery.md")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"before\n{_report.BEGIN}old\n{_report.END}after\n")

    process = subprocess.run

    def run(line, **options):
        name, seed = line[3], line[5]
        if seed == "13":  # a process that fails
            return process([sys.executable, "-c", "print('epoch 1', flush=True); open('no such file')"], **options)
        return subprocess.CompletedProcess(line, command.main([name, *QUICK[name], *line[4:]]))

    monkeypatch.setattr(subprocess, "run", run)
    return tmp_path


@pytest.mark.slow
def test_a_report(places, capsys):
    assert command.main(["report", "sine", "--seeds", "3", "4", "--out", str(places / "out")]) == 0
    results = json.loads((places / "results.json").read_text())
    assert list(results) == ["sine"]
    for i, seed in enumerate((3, 4)):
        metrics = json.loads((places / "out" / f"sine-{seed}" / "metrics.json").read_text())
        assert results["sine"]["score"][i] == metrics["mae"]
        assert results["sine"]["baseline"][i] == metrics["persistence_mae"]
    picture = (places / "out" / "sine-3" / "predictions.png").read_bytes()
    assert (places / "docs" / "sine.png").read_bytes() == picture
    page = (places / "README.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "- **many to one**, a sequence to a class or a value: [`digits`](models/digits.py), [`forecast`]" in page
    page = (places / "docs" / "gallery.md").read_text()
    assert "| [`sine`](#sine) | A tanh RNN reads 25 steps of a wave" in page
    assert "over 2 seeds" in page
    assert "[![sine](models/sine.png)](models/sine.png)" in page
    # a second report keeps what the first one found
    assert command.main(["report", "digits", "--seeds", "0"]) == 0
    page = (places / "docs" / "gallery.md").read_text()
    assert page.index("`digits`") < page.index("`sine`")
    assert "over 1 seeds (sine 2)" in page


@pytest.mark.slow
def test_more_seeds(places):
    for seeds in (["1", "2"], ["0", "2"]):
        assert command.main(["report", "sine", "--more", "--seeds", *seeds]) == 0
    columns = json.loads((places / "results.json").read_text())["sine"]
    assert columns["seed"] == [0, 1, 2]
    assert {len(column) for column in columns.values()} == {3}
    assert command.main(["report", "sine", "--seeds", "5"]) == 0
    assert json.loads((places / "results.json").read_text())["sine"]["seed"] == [5]


def test_seeds_are_as_many_as_the_model_needs():
    assert {name: load.card.seeds for name, load in LOADED.items()} == {
        name: 5 if name in HANG else 3 for name in LOADED
    }


@pytest.mark.slow
def test_a_training_that_fails(places, capsys):
    """It is named, with its command and the end of what it said; all that is measured is kept."""
    old = {"seed": [0], "score": [0.9], "baseline": [0.8], "seconds": [1.0], "load": [0.1]}
    (places / "results.json").write_text(json.dumps({"digits": old}))
    assert command.main(["report", "digits", "sine", "--seeds", "13", "1"]) == 1
    results = json.loads((places / "results.json").read_text())
    assert len(results["sine"]["score"]) == len(results["digits"]["score"]) == 1
    assert results["digits"] != old
    assert (places / "docs" / "sine.png").exists()
    errors = capsys.readouterr().err
    for name in ("digits", "sine"):
        assert f"{name}, seed 13: failed with exit code 1: python -m models {name} --seed 13 --out " in errors
    assert errors.count("epoch 1\n") == 2
    assert errors.count("FileNotFoundError: [Errno 2] No such file or directory: 'no such file'") == 2

    before = (places / "results.json").read_text()
    assert command.main(["report", "sine", "--seeds", "13"]) == 1
    assert (places / "results.json").read_text() == before
    assert "`sine`" in (places / "docs" / "gallery.md").read_text()


def test_the_table_alone(places):
    numbers = {
        "seed": [0, 1, 2],
        "score": [0.96, 0.98, 0.97],
        "baseline": [0.9, 0.9, 0.9],
        "seconds": [10.0, 20.0, 15.0],
        "load": [0.5] * 3,
    }
    (places / "results.json").write_text(json.dumps({"digits": numbers}))
    assert command.main(["report", "--table"]) == 0
    page = (places / "docs" / "gallery.md").read_text()
    assert "| **97.0%** (96.0% to 98.0%) | nearest mean image: 90.0% | 15 s |" in page
    assert "busy" not in page
    numbers["load"][1] = 4.0
    assert "busy with other work during digits" in _pages.table(COMMANDS, {"digits": numbers})


def test_durations():
    assert [_pages.duration(s) for s in (4.4, 89, 200)] == ["4 s", "89 s", "3.3 min"]


def test_a_readme_without_a_place(places):
    (places / "README.md").write_text("nothing")
    with pytest.raises(SystemExit, match="holds no place for the models"):
        command.main(["report", "--table"])


def test_unknown_models(capsys):
    with pytest.raises(SystemExit):
        command.main(["report", "elephant"])
    assert "got elephant, wanted some of airline, " in capsys.readouterr().err


def test_the_gallery_is_up_to_date():
    results = json.loads(_report.RESULTS.read_text(encoding="utf-8"))
    there = _report.GALLERY.read_text(encoding="utf-8")
    assert there == _pages.gallery(LOADED, results), "run python -m models report --table"


def test_the_readme_names_every_model():
    page = (_report.ROOT / "README.md").read_text(encoding="utf-8")
    assert page.split(_report.BEGIN)[1].split(_report.END)[0] == f"\n{_pages.forms(LOADED)}\n"
    assert all(f"[`{name}`](models/{name}.py)" in page for name in command.names())


def test_the_gallery_shows_every_model_that_has_results():
    page = _report.GALLERY.read_text(encoding="utf-8")
    results = json.loads(_report.RESULTS.read_text(encoding="utf-8"))
    assert set(results) <= set(command.names())
    table = page.split("\n| model |")[1].partition("\n\n")[0]
    for name in results:
        assert f"| [`{name}`](#{name}) |" in table
        assert (_report.PICTURES / f"{name}.png").read_bytes().startswith(b"\x89PNG")
