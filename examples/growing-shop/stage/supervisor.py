"""Starts the parts in order, watches them, and stops all of them when one ends.

No process outlives a run: a clean end stops each part by its own signal, and a supervisor that is itself
killed is survived by the reaper, which ends the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from stage import preflight, reaper
from stage.errors import StageError
from stage.parts import Part, as_user, everything
from stage.plan import Plan

START_S = 120.0
STOP_S = 20.0
CALM = -20


class InterruptedStageError(StageError):
    """Somebody asked for the end."""


class Stage:
    """Every part of one run, as a context: entering starts them, leaving stops them.

    Parameters
    ----------
    plan
        Where.
    say
        Gets a line for each thing that happens.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan, self.say = plan, say
        self._running: list[tuple[Part, subprocess.Popen[bytes]]] = []
        self._reaper: subprocess.Popen[bytes] | None = None
        self._asked: int | None = None

    def __enter__(self) -> Stage:
        preflight.check(self.plan)
        self._fresh_folder()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)
        try:
            self._start_reaper()
            for part in everything(self.plan):
                self.start(part)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = number

    def _fresh_folder(self) -> None:
        folder = self.plan.folder
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        folder.chmod(0o711)  # other users pass through to the folders that are theirs
        (folder / "growing-shop").write_text("a run of examples/growing-shop; the next run removes it\n")
        self.plan.switches.write_text("[]")
        self.plan.load.write_text(json.dumps({"users": 0}))

    def _start_reaper(self) -> None:
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "stage.reaper", str(self.plan.folder)],
            stdin=subprocess.PIPE, env=self.plan.environment, start_new_session=True,
        )  # fmt: skip

    def start(self, part: Part) -> None:
        """Start one part, and wait until it works."""
        begin = time.monotonic()
        try:
            if part.prepare is not None:
                part.prepare()
        except subprocess.CalledProcessError as error:
            raise StageError(
                f"{part.name} could not be prepared: {error.stderr.strip()[-500:]}",
                f"by hand: {' '.join(map(str, error.cmd))}",
            ) from error
        with self.log(part.name).open("ab") as log:
            process = subprocess.Popen(
                part.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True, env={**self.plan.environment, **part.environment},
                **as_user(part.user),
            )  # fmt: skip # pyright: ignore
        if part.calm:
            _before_others(process.pid)
        self._running.append((part, process))
        while not part.ready():
            self.check()
            if time.monotonic() - begin > START_S:
                raise StageError(
                    f"{part.name} is not ready after {START_S:.0f} s", f"its log: {self.log(part.name)}"
                )
            time.sleep(0.1)
        if part.finish is not None:
            part.finish()
        self.say(f"{part.name} is ready ({time.monotonic() - begin:.1f} s, process {process.pid})")

    def log(self, name: str) -> Path:
        """A part's log."""
        return self.plan.folder / f"{name}.log"

    def process_id(self, name: str) -> int:
        """Process id of a running part."""
        return next(process.pid for part, process in self._running if part.name == name)

    def cpu_seconds(self, *names: str) -> float:
        """Processor seconds that some parts have used, with everything that they started."""
        sessions = {self.process_id(name) for name in names}
        ticks = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[3]) in sessions:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def check(self) -> None:
        """See whether all parts are alive.

        Raises
        ------
        StageError
            A part has ended; all others are stopped as the context is left.
        """
        if self._asked is not None:
            raise InterruptedStageError(f"asked to stop by {signal.Signals(self._asked).name}")
        if self._reaper is not None and self._reaper.poll() is not None:
            raise StageError("the reaper has ended: without it processes could be left behind")
        for part, process in self._running:
            if (code := process.poll()) is not None:
                raise StageError(
                    f"{part.name} (process {process.pid}) {how_it_ended(code)}; the other parts are stopped",
                    f"its log is {self.log(part.name)}, and ends with:\n{_tail(self.log(part.name))}",
                )

    def wait(self, seconds: float) -> None:
        """Let time pass while all parts live."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(0.2, left))

    def stop(self) -> None:
        """Stop every part, the last started first; what does not end in time is killed."""
        while self._running:
            part, process = self._running.pop()
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(part.stop)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    self.say(f"{part.name} did not stop within {STOP_S:.0f} s, and is killed")
                    process.kill()
                    process.wait()
        spared = frozenset([os.getpid(), *([self._reaper.pid] if self._reaper else [])])
        reaper.end(str(self.plan.folder), spared)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None


def _before_others(pid: int) -> None:
    """Let a part's session run before others; only root may, and else the machine should be at rest.

    Where the kernel groups processes by session, the group's weight counts, and not the process's.
    """
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, pid, CALM)
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists():
            group.write_text(str(CALM))


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _tail(log: Path, lines: int = 8) -> str:
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join(f"  | {line[:200]}" for line in text) or "  | (nothing)"
