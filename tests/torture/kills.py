"""Kills an experiment again and again, at any moment, and compares its end with an undisturbed one.

Half of the kills come at the n-th file operation in the folder of the experiment, from inside; half
at a random time, from outside.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from input_pipeline.command_errors import AGAIN
from tests.torture.compare import differences
from tests.torture.started import Start

COUNTS = ((1,), (2,), (1,), (4, 2, 1, 3))
"""Processes of the starts of an experiment, one after the other; of experiments in turn."""

HANGS_SECONDS = 600.0
_TRIES = 5
_MOST_KILLS = 25  # of one experiment; then it is left alone


@dataclass
class Outcome:
    """What became of one experiment, or of several together."""

    experiments: int = 0
    kills: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    processes: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, experiments: int, kills: int, failures: list[str], **counts: dict) -> None:
        """Counts those of another outcome, too."""
        self.experiments += experiments
        self.kills += kills
        self.failures += failures
        for name, counted in counts.items():
            getattr(self, name).update(counted)


def undisturbed(folder: Path, processes: int = 1) -> tuple[Path, float]:
    """The experiment, run in one go where that was not done yet, and how many seconds it took.

    Raises:
        RuntimeError: it failed, or a second one came to another end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reference = folder / f"undisturbed-{processes}"
    noted, code = reference.with_suffix(".json"), code_digest()
    found = json.loads(noted.read_text()) if noted.exists() else {}
    if found.get("code") != code:
        repeated = reference.with_name(f"{reference.name}-repeated")
        seconds = 0.0
        for workdir in (repeated, reference):  # the first one compiles as well
            remove(workdir)
            begun = time.monotonic()
            for _ in range(_TRIES):
                start = Start(workdir, processes)
                start.wait(HANGS_SECONDS)
                seconds = time.monotonic() - begun
                if AGAIN not in start.codes():  # else the machine is busy, and they did not meet
                    break
            if start.codes() != {0}:
                raise RuntimeError(f"an undisturbed experiment failed:\n{start.said()}")
        if differ := differences(repeated, reference):
            raise RuntimeError(f"undisturbed experiments differ: {differ}")
        remove(repeated)
        found = {"code": code, "seconds": seconds}
        noted.write_text(json.dumps(found))
    return reference, found["seconds"]


def code_digest() -> str:
    """Changes with the code: an experiment of another version may end otherwise."""
    root = Path(__file__).parents[2]
    rooms = (root / "input_pipeline", root / "sacd_jax")
    files = [path for room in rooms for path in room.rglob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def remove(workdir: Path) -> None:
    """Deletes an experiment and what lies beside it."""
    shutil.rmtree(workdir, ignore_errors=True)
    for beside in workdir.parent.glob(f"{workdir.name}.*"):
        beside.unlink()


class Torture:
    """Experiments in a folder, with a log of those that are done."""

    def __init__(self, folder: Path, seed: int = 0):
        """
        Args:
            folder: keeps the log, what is compared with, and the experiments that failed.
            seed: another seed, other moments.
        """
        self.folder, self._seed, self._log = folder, seed, folder / "kills.jsonl"
        found = {processes: undisturbed(folder, processes) for processes in (1, 2)}
        self._references = {processes: reference for processes, (reference, _) in found.items()}
        self._seconds = {processes: seconds for processes, (_, seconds) in found.items()}
        inside = self._references[1].rglob("*")
        self._operations = 6 * sum(path.is_file() for path in inside)  # about

    def done(self) -> dict[int, dict]:
        """Number -> outcome of the experiments in the log."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return {line.pop("number"): line for line in map(json.loads, lines)}

    def total(self) -> Outcome:
        """All that is in the log."""
        total = Outcome()
        for each in self.done().values():
            total.add(**each)
        return total

    def run(self, kills: int, jobs: int = 1) -> Outcome:
        """Goes on until so many kills are in the log, or an experiment of each job has failed."""
        done = self.done()
        left = kills - self.total().kills
        numbers = (number for number in count() if number not in done)
        with ThreadPoolExecutor(jobs) as pool:
            running = set()
            failed = 0
            while (left > 0 and failed < jobs) or running:
                while left > 0 and failed < jobs and len(running) < jobs:
                    most = min(left, _MOST_KILLS)
                    left -= most
                    running.add(pool.submit(self._one, next(numbers), most))
                ended = next(as_completed(running))
                running.remove(ended)
                number, most, outcome = ended.result()
                left += most - outcome.kills
                failed += bool(outcome.failures)
                with open(self._log, "a") as log:
                    print(json.dumps({"number": number, **vars(outcome)}), file=log, flush=True)
        return self.total()

    def _one(self, number: int, most: int) -> tuple[int, int, Outcome]:
        """Kills one experiment until it is done, and compares it."""
        workdir = self.folder / f"experiment-{number}"
        remove(workdir)
        counts = COUNTS[number % len(COUNTS)]
        outcome = Outcome(experiments=1)
        outcome.failures += self._disturb(workdir, number, most, counts, outcome)
        if not outcome.failures:
            same = counts if len(counts) == 1 else (1,)
            outcome.failures += differences(self._references[same[0]], workdir, same == counts)
        outcome.failures = [f"experiment {number}: {failure}" for failure in outcome.failures]
        if not outcome.failures:
            remove(workdir)
        return number, most, outcome

    def _disturb(
        self, workdir: Path, number: int, most: int, counts: tuple[int, ...], outcome: Outcome
    ) -> Iterator[str]:
        """Starts the experiment until it ends by itself; yields what should not have happened."""
        rng = random.Random(f"{self._seed} {number}")
        cores = sorted(os.sched_getaffinity(0))
        tries = 0
        core = cores[number % len(cores)] if number % 5 else None
        while True:
            processes = counts[outcome.kills % len(counts)]
            left_alone = outcome.kills >= most
            imports = rng.random() < 0.04 and processes == 1
            inside = rng.random() < 0.5 and not imports
            kill_at = rng.randint(1, self._operations // 2) if inside and not left_alone else 0
            patience = self._seconds[1] * rng.random() * (0.5 if not imports else 1)
            if processes > 1:
                patience *= self._seconds[2] / self._seconds[1] * processes / 2
            sent = rng.choice([signal.SIGKILL] * 7 + [signal.SIGTERM])

            start = Start(workdir, processes, kill_at, imports, core)
            by_itself = inside or left_alone
            ended = start.wait(HANGS_SECONDS if by_itself else patience, everyone=False)
            if by_itself:
                sent = signal.SIGKILL
                if start.codes() & {0, None} and -signal.SIGKILL in start.codes():
                    start.send(signal.SIGKILL)  # as a launcher does with the others
            elif not ended:
                start.send(sent)
            if not start.wait(HANGS_SECONDS):
                yield f"hangs in {start.phase()}\n{start.last_words()}"
                start.send(signal.SIGKILL)
                return
            codes = start.codes()
            if codes == {0}:
                return
            tries += 1
            if codes <= {0, AGAIN} and tries < _TRIES + outcome.kills:
                continue  # the machine is busy, and they did not meet
            expected = {-signal.SIGKILL} if sent == signal.SIGKILL else {143, -signal.SIGTERM, 0}
            if -signal.SIGKILL in codes and processes > 1:
                expected |= {AGAIN}  # of those that noticed
            if not codes <= expected or "Traceback" in start.said():
                yield f"ended with {codes} in {start.phase()}\n{start.last_words()}"
                return
            outcome.kills += 1
            outcome.signals[sent.name] += 1
            outcome.processes[str(processes)] += 1
            outcome.phases[start.phase()] += 1
