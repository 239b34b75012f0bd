"""Trials are counted exactly, whatever happens to their workers.

The study evaluates on validation alone.
"""

import json
import os
import select
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest

from conftest import FAST
from medseg.config import SearchConfig, TrainConfig, arguments, dump, make, read_yaml
from medseg.data.cache import content
from medseg.data.decode import read_image
from medseg.data.sample import Dataset, Item
from medseg.data.sealed import check_run, sealed
from medseg.data.sources.dataset import load_dataset
from medseg.errors import Interrupted, Pruned, UserError
from medseg.evaluation.rows import read_rows
from medseg.files import read_csv, write_csv, write_text
from medseg.search import dashboard as dashboards
from medseg.search import processes, results, worker
from medseg.search import trial as trials
from medseg.search.conduct import prepare, training_of
from medseg.search.folds import fold_datasets
from medseg.search.page import importance, place
from medseg.search.results import saved_by_pruning
from medseg.search.search import search
from medseg.search.study import (
    RETRIES,
    TrialState,
    counted,
    hidden,
    make_pruner,
    make_sampler,
    open_study,
    outcomes,
    storage_errors,
    tally,
    too_many,
    try_again,
)
from medseg.search.worker import work


def options(dataset, tmp_path, **changes):
    (tmp_path / "space.yaml").write_text(
        "lr: {low: 0.001, high: 0.1, log: true}\nhflip: [0, 0.5]\n"
    )
    return (
        FAST
        | {
            "data": str(dataset),
            "out": str(tmp_path / "study"),
            "space": str(tmp_path / "space.yaml"),
            "trials": 3,
        }
        | changes
    )


def fake(study, state, *, params=None, value=0.5, **attrs):
    """A trial of a given state in the study."""
    params = params or {}
    study.add_trial(
        optuna.create_trial(
            state=state,
            value=value if state == TrialState.COMPLETE else None,
            params=params,
            distributions={key: optuna.distributions.FloatDistribution(0, 1) for key in params},
            user_attrs=attrs,
        )
    )
    return study.get_trials()[-1]


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


def test_each_trial_counts_once(study):
    fake(study, TrialState.COMPLETE)
    fake(study, TrialState.PRUNED)
    fake(study, TrialState.FAIL, error="the loss became nan")
    fake(study, TrialState.FAIL, freed="one too many")
    try_again(study, fake(study, TrialState.FAIL))  # its worker was lost
    assert outcomes(study.get_trials()) == [
        "completed",
        "pruned",
        "failed",
        "freed",
        "freed",
        "waiting",
    ]
    found = tally(study)
    assert (found.completed, found.pruned, found.failed, found.running, found.finished) == (
        1,
        1,
        1,
        0,
        3,
    )
    assert [trial.number for trial in counted(study)] == [0, 1, 2]
    again = study.ask()
    assert tally(study).running == 1 and tally(study).taken == 4
    study.tell(again, 0.7)
    assert tally(study).completed == 2


def test_a_lost_trial_is_tried_again_with_its_values_and_not_for_ever(study):
    lost = fake(study, TrialState.FAIL, params={"lr": 0.25})
    for attempt in range(RETRIES):
        try_again(study, lost)
        again = study.ask()
        assert again.suggest_float("lr", 0, 1) == 0.25
        assert tally(study).finished == 0
        study.tell(again, state=TrialState.FAIL)
        lost = study.get_trials()[-1]
        assert len(study.get_trials()) == attempt + 2
    try_again(study, lost)
    assert len(study.get_trials()) == RETRIES + 1  # it is given up
    assert tally(study).failed == 1 and tally(study).finished == 1
    study.add_trial(
        optuna.create_trial(
            state=TrialState.FAIL,
            user_attrs={"freed": "stopped by the user"},
            system_attrs={"retry_history": [7, 8, 9]},
        )
    )
    assert tally(study).failed == 1  # stopping is nobody's failure


def test_of_two_workers_that_take_the_last_slot_the_later_one_gives_it_back(study):
    fake(study, TrialState.COMPLETE)
    one, other = study.ask(), study.ask()
    assert not too_many(study, one.number, 2) and too_many(study, other.number, 2)
    assert not too_many(study, other.number, 3)


def test_samplers_by_number_differ_and_repeat():
    def first(number):
        study = optuna.create_study(sampler=make_sampler("random", number))
        return study.ask().suggest_float("x", 0, 1)

    assert first(1) == first(1) != first(2)


def test_pruners(study):
    median = make_pruner("median", steps=20, startup=3)
    assert (median._n_startup_trials, median._n_warmup_steps) == (3, 2)
    assert make_pruner("hyperband", steps=7, startup=3)._max_resource == 7
    assert isinstance(make_pruner("none", steps=7, startup=3), optuna.pruners.NopPruner)


def test_folds_keep_groups_together_and_share_the_images():
    items = [Item(f"i{i}", None, (), group=f"g{i % 7}" if i < 30 else None) for i in range(40)]
    dataset = Dataset(
        "x",
        "y",
        {
            "train": tuple(items[:25]),
            "validation": tuple(items[25:]),
            "test": (Item("t", None, ()),),
        },
    )
    folds = fold_datasets(dataset, 4)
    held = [{item.name for item in fold.parts["validation"]} for fold in folds]
    assert sorted(name for fold in held for name in fold) == sorted(
        item.name for item in items
    )  # each once
    for fold in folds:
        names = [item.name for part in fold.parts.values() for item in part]
        assert sorted(names) == sorted(item.name for item in items) and "test" not in fold.parts
        groups = [{item.group for item in part if item.group} for part in fold.parts.values()]
        assert not groups[0] & groups[1]
    assert max(map(len, held)) - min(map(len, held)) <= 5  # no more than a group
    with pytest.raises(UserError, match="17 groups"):
        fold_datasets(dataset, 18)


def test_a_sealed_image_cannot_be_read(dataset):
    items = load_dataset(dataset, data_root=dataset, split=None).parts["test"]
    with sealed(items):
        with pytest.raises(UserError, match="is a test image, and a search is running"):
            read_image(items[0].image)
        with pytest.raises(UserError, match="is a test image"):
            read_image(items[0].mask)
        with pytest.raises(UserError, match="is a test image"):
            content(items)  # what a set that is decoded already is found by
        for made in (os.symlink, os.link):
            made(items[0].image, dataset / made.__name__)
            with pytest.raises(UserError, match="is a test image"):
                read_image(dataset / made.__name__)
    assert read_image(items[0].image).pixels.ndim == 3


def test_while_a_trial_runs_the_test_part_is_out_of_reach(dataset, tmp_path, monkeypatch):
    """Also for a training on the whole data set, whose decoded images are in the cache already."""
    config = training_of(make(SearchConfig, options(dataset, tmp_path, epochs=1)))
    import medseg

    medseg.train(config=replace(config, output=replace(config.output, out=tmp_path / "before")))
    whole = load_dataset(dataset, data_root=dataset, split=None)
    config = replace(config, output=replace(config.output, out=tmp_path / "run"))
    monkeypatch.setattr(trials, "train", lambda config, **_: medseg.train(config=config))
    with pytest.raises(UserError, match="is a test image"):
        trials.objective(config, whole, 0, None)


def test_while_a_study_runs_no_trial_of_it_is_judged_on_test(dataset, tmp_path):
    """By another process: `medseg evaluate` on the folder of a trial."""
    import medseg

    run = tmp_path / "study" / "trials" / "0000"
    medseg.train(**FAST | {"data": str(dataset), "out": str(run), "epochs": 1})
    code = (
        "import sys\nfrom pathlib import Path\nfrom medseg.data.sealed import searching\n"
        "with searching(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "study")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]  # any number of workers
    try:
        assert all(
            select.select([other.stdout], [], [], 60)[0] for other in others
        )  # neither waits for the other
        for part in ("test", "all"):
            with pytest.raises(UserError, match="belongs to a search that is running"):
                medseg.evaluate(run=run, split_part=part)
        assert medseg.evaluate(run=run, split_part="validation")["n_images"] == 4
    finally:
        for other in others:
            other.kill()
            other.communicate()
    assert medseg.evaluate(run=run, split_part="test")["n_images"] == 5


def test_a_study_from_its_first_trial_to_the_test(dataset, tmp_path):
    given = options(dataset, tmp_path, startup=1)
    result = search(make(SearchConfig, given))
    folder = tmp_path / "study"
    assert json.loads((folder / "search.json").read_text()) == json.loads(json.dumps(result))
    assert result["finished"] == 3 == result["completed"] + result["pruned"] + result["failed"]
    assert sorted(path.name for path in (folder / "trials").iterdir()) == ["0000", "0001", "0002"]
    assert not list((folder / "trials").rglob("report/test"))
    best = result["best"]
    history = read_csv(folder / "trials" / f"{best['trial']:04}" / "metrics.csv")
    assert best["value"] == pytest.approx(max(row["val_dice"] for row in history), abs=1e-5)
    assert best["value"] == max(
        row["value"] for row in result["trials"] if row["state"] == "completed"
    )
    # the recipe is what the trial was, and 'medseg train --config' takes it
    recipe = make(
        TrainConfig,
        arguments(TrainConfig, ["--config", str(folder / "best.yaml")], prog="", about=""),
    )
    kept = make(TrainConfig, read_yaml(folder / "trials" / f"{best['trial']:04}" / "config.yaml"))
    assert (recipe.optim, recipe.augment, recipe.loss) == (kept.optim, kept.augment, kept.loss)
    assert recipe.optim.lr == best["params"]["lr"]
    further = make(
        SearchConfig,
        arguments(SearchConfig, ["--config", str(folder / "best.yaml")], prog="", about=""),
    )
    assert further.optim.lr == recipe.optim.lr  # a search may begin where another ended
    # the gain, by hand from the tables of both
    dice = {
        name: {
            row["name"]: row["dice"]
            for row in read_rows(folder / name / "report/test/per_image.csv")
        }
        for name in ("best", "default")
    }
    gain = sum(dice["best"][name] - dice["default"][name] for name in dice["best"]) / 5
    default = make(TrainConfig, read_yaml(folder / "default" / "config.yaml"))
    assert (default.optim.lr, default.augment.hflip) == (
        given["lr"],
        0.5,
    ) and default.training.epochs == given["epochs"]
    again = result["retrained"]
    assert (
        again["gain"] == pytest.approx(gain, abs=1e-9)
        and again["interval"][0] <= gain <= again["interval"][1]
    )
    page = (folder / "search.html").read_text()
    assert all(
        word in page
        for word in ("History", "Slices", "Parallel coordinates", "All 3 trials", "hflip")
    )
    history = page.partition("History")[2].partition("</section>")[0]
    assert history.count("<circle") == result["completed"]
    assert "<script" not in page and "src=" not in page.replace("xmlns", "")

    longer = search(make(SearchConfig, given | {"trials": 4}))  # goes on
    assert longer["finished"] == 4 and longer["trials"][:3] == result["trials"]
    with pytest.raises(
        UserError, match=r"--study search: was started with momentum = 0.9, now it is 0.8"
    ):
        search(make(SearchConfig, given | {"momentum": 0.8}))
    done = search(
        make(SearchConfig, given | {"trials": 4})
    )  # nothing is left to do, and nothing is counted twice
    assert done["trials"] == longer["trials"]


def test_a_winner_is_tested_once_and_a_new_one_does_not_take_its_place(
    dataset, tmp_path, monkeypatch
):
    job = job_of(dataset, tmp_path, epochs=1)
    fake(job.study, TrialState.COMPLETE, params={"lr": 0.02})
    trained = []
    monkeypatch.setattr(
        results, "train", lambda config, **_: trained.append(config) or pretend(config)
    )

    def pretend(config):
        folder = config.output.out
        folder.mkdir(parents=True)
        write_text(
            folder / "config.yaml", dump(replace(config, data=replace(config.data, classes=2)))
        )
        for part in ("validation", "test"):
            (folder / "report" / part).mkdir(parents=True)
            summary = {"protocols": {"per-image-foreground": {"dice": config.optim.lr}}}
            write_text(folder / "report" / part / "summary.json", json.dumps(summary))
            write_csv(
                folder / "report" / part / "per_image.csv",
                [{"name": str(i), "dice": config.optim.lr} for i in range(3)],
            )

    first = results.retrain(job)
    assert (first["trial"], first["best"]["test"], first["default"]["test"], len(trained)) == (
        0,
        0.02,
        0.01,
        2,
    )
    assert results.retrain(job) == first and len(trained) == 2
    other = replace(job, folder=tmp_path / "another-machine")
    assert results.retrain(other) == first and len(trained) == 2  # the study knows
    fake(job.study, TrialState.COMPLETE, params={"lr": 0.05}, value=0.75)
    second = results.retrain(job)
    assert (second["trial"], second["best"]["test"], len(trained)) == (1, 0.05, 3)
    assert second["gain"] == pytest.approx(0.04)
    assert read_yaml(tmp_path / "study" / "best-earlier" / "config.yaml")["lr"] == 0.02


def test_cross_validation_is_the_mean_over_folds(dataset, tmp_path):
    result = search(
        make(SearchConfig, options(dataset, tmp_path, folds=2, trials=1, epochs=1, retrain=False))
    )
    runs = tmp_path / "study" / "trials" / "0000"
    summaries = [
        json.loads((runs / f"fold-{k}/report/validation/summary.json").read_text()) for k in (1, 2)
    ]
    scores = [summary["protocols"]["per-image-foreground"]["dice"] for summary in summaries]
    assert result["best"]["value"] == pytest.approx(sum(scores) / 2)
    held = [(runs / f"fold-{k}/splits/validation.txt").read_text().split() for k in (1, 2)]
    assert len(set(held[0]) | set(held[1])) == len(held[0]) + len(held[1]) == 16
    assert not (runs / "fold-1/splits/test.txt").exists()


def job_of(dataset, tmp_path, **changes):
    config = make(SearchConfig, options(dataset, tmp_path, retrain=False, **changes))
    return prepare(config, tmp_path / "study", f"sqlite:///{tmp_path}/study.db")


def test_a_failed_trial_is_counted_and_a_stopped_one_is_not(dataset, tmp_path, monkeypatch):
    job = job_of(dataset, tmp_path)
    happens = iter([UserError("loss became nan"), Interrupted("run"), Pruned(), 0.5, 0.25])

    def objective(config, dataset, folds, report, coding):
        outcome = next(happens)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(worker, "objective", objective)
    with pytest.raises(Interrupted):
        work(job)
    assert tally(job.study).failed == 1 and tally(job.study).finished == 1
    stopped = job.study.get_trials()[1]
    assert work(job_of(dataset, tmp_path)) == 2
    found = tally(job.study)
    assert (found.failed, found.pruned, found.completed, found.freed, found.running) == (
        1,
        1,
        1,
        1,
        0,
    )
    again = job.study.get_trials()[2]
    assert again.params == stopped.params and again.params


def test_between_two_trials_too_the_test_part_is_out_of_reach(dataset, tmp_path, monkeypatch):
    job = job_of(dataset, tmp_path)
    monkeypatch.setattr(worker, "objective", lambda *_: 0.5)
    said = []

    def after_trial():
        for look in (
            lambda: content(job.dataset.parts["test"]),
            lambda: check_run(job.folder / "trials" / "0000"),
        ):
            with pytest.raises(UserError) as error:
                look()
            said.append(str(error.value))

    assert work(job, after_trial) == 3
    assert len(said) == 6 and all("evaluates on validation alone" in each for each in said)
    content(job.dataset.parts["test"])
    check_run(job.folder / "trials" / "0000")


def test_pruning_stops_a_training_early(dataset, tmp_path, monkeypatch):
    job = job_of(dataset, tmp_path, epochs=4)
    asked, asked_to_stop = [], [2]

    def reporter(trial):
        def report(value, step, seconds):
            asked.append((step, value, seconds))
            return step in asked_to_stop

        return report

    monkeypatch.setattr(worker, "reporter", reporter)
    job = replace(job, config=replace(job.config, search=replace(job.config.search, trials=1)))
    work(job)
    history = read_csv(tmp_path / "study" / "trials" / "0000" / "metrics.csv")
    assert [row["epoch"] for row in history] == [1, 2]
    assert [step for step, _, _ in asked] == [1, 2]
    assert [value for _, value, _ in asked] == pytest.approx(
        [row["val_dice"] for row in history], abs=1e-5
    )
    assert [seconds for _, _, seconds in asked] == pytest.approx(
        [row["seconds"] for row in history], rel=1e-4
    )
    assert tally(job.study).pruned == 1

    asked_to_stop[:] = [4]  # the end: there is nothing left to save
    work(replace(job, config=replace(job.config, search=replace(job.config.search, trials=2))))
    assert (tally(job.study).pruned, tally(job.study).completed) == (1, 1)


def test_what_pruning_saved():
    rows = [
        {"state": "completed", "seconds": 105.0, "steps": 10, "steps_took": None},
        {
            "state": "pruned",
            "seconds": 25.0,
            "steps": 2,
            "steps_took": 20.0,
        },  # and 5 to start with, once
        {"state": "failed", "seconds": 5.0, "steps": 1, "steps_took": None},
    ]
    assert saved_by_pruning(rows, 10) == pytest.approx(80 / (130 + 80))
    assert saved_by_pruning([], 10) is None


def test_the_parameter_that_decides_is_the_important_one():
    study = optuna.create_study(direction="maximize", sampler=make_sampler("random", 0))
    study.optimize(
        lambda trial: trial.suggest_float("a", 0, 1) + 0.01 * trial.suggest_float("b", 0, 1),
        n_trials=60,
    )
    found = importance(study)
    assert list(found) == ["a", "b"] and found["a"] > 0.9


def test_places_on_an_axis():
    assert place(0.01, {"low": 0.001, "high": 0.1, "log": True}) == pytest.approx(0.5)
    assert place(0.3, {"low": 0.2, "high": 0.4, "log": False}) == pytest.approx(0.5)
    assert [place(value, ["a", "b"]) for value in "ab"] == [0.25, 0.75]


def test_a_password_is_not_shown():
    assert hidden("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"storage": "nonsense"}, "--storage: not an SQLAlchemy URL"),
        ({"storage": "sqlite:////no/such/folder/x.db"}, "unable to open database file"),
        ({"folds": 1}, "--folds 1: expected at least 2"),
        ({"folds": 40}, "16 groups of images"),
        ({"folds": 2, "devices": 2}, "one device"),
        ({"resume": "x"}, "--resume: is for medseg train"),
        ({"sampler": "cmaes"}, "pip install cmaes"),
        ({"dashboard": True, "study": "nobody", "storage": "sqlite://"}, "nobody"),
    ],
)
def test_wrong_use(dataset, tmp_path, monkeypatch, changes, said):
    if changes.get("dashboard"):
        monkeypatch.setitem(sys.modules, "optuna_dashboard", SimpleNamespace(run_server=None))
    with pytest.raises(UserError) as error:
        search(make(SearchConfig, options(dataset, tmp_path, **changes)))
    assert said in str(error.value)
    assert not (tmp_path / "study" / "trials").exists()


def test_as_many_other_images_are_not_the_same(dataset, tmp_path):
    job_of(dataset, tmp_path)
    job_of(dataset.rename(tmp_path / "moved"), tmp_path)  # wherever they lie
    for kind in ("images", "masks"):
        folder = tmp_path / "moved" / "validation" / kind
        next(folder.iterdir()).rename(folder / "another.png")
    with pytest.raises(UserError, match="1 of its images are not in moved any more: frame10"):
        job_of(tmp_path / "moved", tmp_path)


def test_workers_share_the_cores_and_the_winner_has_them_all(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 8)
    job = job_of(dataset, tmp_path, workers=3, threads=0)
    told = processes._config(job)
    assert (told.hardware.threads, told.data.workers, job.base.hardware.threads) == (2, 1, 0)
    assert processes._config(job_of(dataset, tmp_path, workers=3, threads=5)).hardware.threads == 5


@pytest.mark.parametrize("last", [optuna.exceptions.StorageInternalError, UnboundLocalError])
def test_a_database_that_fails_is_told_of_in_a_line(last):
    """Optuna's own error, or the one that it makes of it at the end of a trial."""
    from sqlalchemy.exc import OperationalError

    with (
        pytest.raises(
            UserError, match=r"--storage sqlite:///x.db: the database failed \(it is\); .* resumes"
        ) as told,
        storage_errors("sqlite:///x.db"),
    ):
        try:
            raise OperationalError("SELECT", {}, Exception("it is\nand more"))
        except OperationalError:
            raise last("long")  # noqa: B904
    assert "\n" not in str(told.value)
    with pytest.raises(UnboundLocalError), storage_errors("sqlite:///x.db"):
        raise UnboundLocalError("a mistake of ours")


def test_the_dashboard_takes_a_free_port_of_this_machine_alone(dataset, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="mine", storage=url)
    asked = []

    def run_server(storage, host, port):
        asked.append((host, port))
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "optuna_dashboard", SimpleNamespace(run_server=run_server))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        monkeypatch.setattr(dashboards, "PORTS", [first, first + 1, first + 2])
        assert dashboards.dashboard(url, "mine") == {}
        monkeypatch.setattr(dashboards, "PORTS", [first])
        with pytest.raises(UserError, match="no free port"):
            dashboards.dashboard(url, "mine")
    assert asked[0][0] == "127.0.0.1" and asked[0][1] in (first + 1, first + 2)
    with pytest.raises(UserError, match="--study mien: not in this storage, did you mean mine"):
        dashboards.dashboard(url, "mien")
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(UserError, match="pip install optuna-dashboard"):
        dashboards.dashboard(url, "mine")


def test_an_unusable_storage_leaves_no_folder(dataset, tmp_path):
    options = {"data": str(dataset), "out": tmp_path / "runs" / "study", "trials": 1}
    config = make(SearchConfig, options | {"storage": f"sqlite:///{tmp_path}/none/study.db"})
    with pytest.raises(UserError, match="unable to open database file"):
        search(config)
    assert not (tmp_path / "runs").exists()


def test_a_study_in_use_by_another_space_is_refused(dataset, tmp_path):
    job = job_of(dataset, tmp_path)
    with pytest.raises(UserError, match="was started with a = 1, now it is 2"):
        open_study("other", job.study._storage, pruner=None, about={"a": 1})
        open_study("other", job.study._storage, pruner=None, about={"a": 2})
