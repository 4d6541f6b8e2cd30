"""The queue: in order, without what is done, with what is added meanwhile, and past what fails."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nightseg_train import __main__, config, fit, queue

FILES = {
    "a.yaml": "name: a\nwork: runs\n",
    "b.yaml": "name: b\nwork: runs\n",
    "bundle.yaml": (
        "run: runs/a\nout: runs/bundle\ngolden: {set: synth, root: x, part: y}\n"
        "about: {name: a, version: 1.0.0, licence: none, card: {intended_use: a, data: b, limits: c}}\n"
    ),
    "soft.yaml": "out: runs/soft.pt\nmembers: [{run: runs/a}]\n",
}
START = [sys.executable, "-m", "nightseg_train"]


class Worker:
    """Stands for the processes that the queue starts: notes each and leaves the file that says it is done."""

    def __init__(self, base: Path, path: Path) -> None:
        """Take the root and the file of the queue."""
        self.base, self.path = base, path
        self.done: list[str] = []
        self.fails: dict[str, int] = {}
        self.meanwhile: Callable[[], None] = lambda: None
        self.jobs: Callable[[], list[queue.Job]] = lambda: queue.jobs(path, base)

    def run(self, command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        """Do the job of a command."""
        assert command[:3] == START and not check
        assert len(self.done) < 20, "the queue does not end"
        job = next(j for j in self.jobs() if list(j.command) == command[3:])
        name = job.done.relative_to(self.base).as_posix()
        self.done.append(name)
        self.meanwhile()
        if name not in self.fails:
            job.done.parent.mkdir(parents=True, exist_ok=True)
            job.done.touch()
        return subprocess.CompletedProcess(command, self.fails.get(name, 0))


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Return what runs instead of processes; the queue lies in a folder of the checkout."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    worker = Worker(tmp_path, folder / "queue.yaml")
    monkeypatch.setattr("nightseg_train.queue.subprocess.run", worker.run)
    monkeypatch.setattr(config, "ROOT", tmp_path)
    return worker


def write(worker: Worker, *entries: str) -> None:
    worker.path.write_text("entries:\n" + "".join(f"  - {{{e}}}\n" for e in entries), encoding="utf-8")


def test_jobs_are_commands_in_order(worker: Worker) -> None:
    write(worker, "fit: a.yaml", "targets: soft.yaml", "export: bundle.yaml", "fit: b.yaml, seeds: [2, 1]")
    folder = worker.path.parent
    assert [j.command for j in queue.jobs(worker.path, worker.base)] == [
        ("fit", "--config", str(folder / "a.yaml")),
        ("targets", "--config", str(folder / "soft.yaml")),
        ("export", "--config", str(folder / "bundle.yaml")),
        ("fit", "--config", str(folder / "b.yaml"), "--seed", "2"),
        ("fit", "--config", str(folder / "b.yaml"), "--seed", "1"),
    ]
    assert queue.work(worker.path, worker.base) == []
    ends = ["runs/a/done.json", "runs/soft.pt", "runs/bundle/bundle.json", "runs/b-s2/done.json", "runs/b-s1/done.json"]
    assert worker.done == ends


def test_a_job_is_done_where_fit_says_so(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    def train(s: fit.Fit) -> Path:
        begun.append(Path(s.work) / s.name)
        raise ValueError("no time")

    monkeypatch.setattr(fit, "fit", train)
    write(worker, "fit: a.yaml", "fit: b.yaml, seeds: [1, 2]")
    jobs = queue.jobs(worker.path, worker.base)
    assert [__main__.main(j.command) for j in jobs] == [1, 1, 1]
    assert [worker.base / folder / "done.json" for folder in begun] == [j.done for j in jobs]


def test_what_is_done_is_left_alone(worker: Worker) -> None:
    write(worker, "fit: a.yaml", "targets: soft.yaml", "fit: b.yaml, seeds: [1, 2]")
    for name in ("runs/a/done.json", "runs/soft.pt", "runs/b-s2/done.json"):
        (worker.base / name).parent.mkdir(parents=True, exist_ok=True)
        (worker.base / name).touch()
    assert queue.work(worker.path, worker.base) == []
    assert worker.done == ["runs/b-s1/done.json"]
    assert queue.work(worker.path, worker.base) == []
    assert worker.done == ["runs/b-s1/done.json"]


def test_entries_that_are_added_while_it_works_are_done(worker: Worker) -> None:
    def add() -> None:
        more = ["targets: soft.yaml"] if len(worker.done) == 1 else ["targets: soft.yaml", "fit: b.yaml, seeds: [7]"]
        write(worker, *more, "fit: a.yaml")

    write(worker, "fit: a.yaml")
    worker.meanwhile = add
    assert queue.work(worker.path, worker.base) == []
    assert worker.done == ["runs/a/done.json", "runs/soft.pt", "runs/b-s7/done.json"]


def test_failures_are_told_of_and_do_not_stop_the_rest(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    write(worker, "fit: a.yaml", "targets: soft.yaml", "fit: b.yaml")
    worker.fails = {"runs/a/done.json": 1, "runs/soft.pt": 0}  # the second ends well and leaves nothing
    with caplog.at_level(logging.ERROR):
        assert __main__.main(["queue", "--config", str(worker.path)]) == 1
    assert worker.done == ["runs/a/done.json", "runs/soft.pt", "runs/b/done.json"]
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 2 and "a.yaml" in told[0] and "soft.yaml" in told[1]


def test_a_job_that_failed_is_tried_by_the_next_queue(worker: Worker) -> None:
    write(worker, "fit: a.yaml", "fit: b.yaml")
    worker.fails = {"runs/a/done.json": 1}
    assert len(queue.work(worker.path, worker.base)) == 1
    worker.fails = {}
    assert __main__.main(["queue", "--config", str(worker.path)]) == 0
    assert worker.done == ["runs/a/done.json", "runs/b/done.json", "runs/a/done.json"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("fit: a.yaml, targets: soft.yaml", "one of `fit`, `targets` and `export`"),
        ("seeds: [1]", "one of `fit`, `targets` and `export`"),
        ("fit: soft.yaml", r"soft\.yaml: out: unknown key"),
    ],
)
def test_entries_that_make_no_sense_are_refused(worker: Worker, entry: str, message: str) -> None:
    write(worker, "fit: a.yaml", entry)
    with pytest.raises(ValueError, match=message):
        queue.work(worker.path, worker.base)
    assert worker.done == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("queue.yaml", "entries: [", r"queue\.yaml: not YAML"),
        ("queue.yaml", None, r"No such file.*queue\.yaml"),
        ("b.yaml", "name: b\nwrok: runs\n", r"b\.yaml: wrok: unknown key"),
    ],
)
def test_a_file_that_breaks_while_it_works_does_not_stop_the_rest(
    worker: Worker, caplog: pytest.LogCaptureFixture, name: str, text: str | None, message: str
) -> None:
    def spoil() -> None:
        file = worker.path.parent / name
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text, encoding="utf-8")

    write(worker, "fit: a.yaml", "fit: b.yaml", "targets: soft.yaml")
    known = queue.jobs(worker.path, worker.base)
    worker.jobs = lambda: known
    worker.meanwhile = spoil
    with caplog.at_level(logging.ERROR):
        assert __main__.main(["queue", "--config", str(worker.path)]) == 1
    assert worker.done == ["runs/a/done.json", "runs/b/done.json", "runs/soft.pt"]
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 4 and all(re.search(message, line) for line in told)
    assert "going on" in told[0] and told[-1].startswith("queue: failed: ")


def test_a_file_that_is_whole_again_is_read_again(worker: Worker) -> None:
    def edit() -> None:
        if len(worker.done) == 1:
            worker.path.write_text("entries: [", encoding="utf-8")
        else:
            write(worker, "fit: a.yaml", "fit: b.yaml", "targets: soft.yaml")

    write(worker, "fit: a.yaml", "fit: b.yaml")
    known = queue.jobs(worker.path, worker.base)
    worker.jobs = lambda: known if len(worker.done) == 1 else queue.jobs(worker.path, worker.base)
    worker.meanwhile = edit
    assert queue.work(worker.path, worker.base) == []
    assert worker.done == ["runs/a/done.json", "runs/b/done.json", "runs/soft.pt"]


def test_the_list_tells_how_far_it_is(worker: Worker, capsys: pytest.CaptureFixture[str]) -> None:
    write(worker, "fit: a.yaml", "fit: b.yaml, seeds: [1]", "targets: soft.yaml")
    for name in ("runs/a/settings.json", "runs/a/done.json", "runs/b-s1/settings.json"):
        (worker.base / name).parent.mkdir(parents=True, exist_ok=True)
        (worker.base / name).touch()
    assert __main__.main(["queue", "--config", str(worker.path), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:6].strip() for line in lines] == ["done", "begun", "to do"]
    assert lines[1].endswith("b.yaml --seed 1") and worker.done == []
