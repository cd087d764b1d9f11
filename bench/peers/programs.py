"""The measured programs as the scripts here drive them: each has its own process, and only the one whose turn it
is runs; the others are stopped (SIGSTOP)."""

import atexit
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_SECONDS = 900  # most time to load a model
TURN_SECONDS = 1800  # most time of a turn


class Failure(Exception):
    """A sentence for the user."""


@dataclass(frozen=True)
class Turn:
    """One piece of work. A turn is a pass that is not counted and then `repeats` that are, of which the
    median is taken."""

    work: str  # what it is called in the table
    rows: int = 0
    logits: str = "all"  # or "last"


def status_of(pid: int, key: str) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{key}:\s+(\w+)", status, re.MULTILINE)
    return found.group(1) if found else ""


def finish(child: subprocess.Popen) -> tuple[str, int]:
    """The rest of a child's output and the largest resident set that it had."""
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failure(f"{' '.join(child.args)} ended with {child.returncode}")
    return output, usage.ru_maxrss * 1024


class Process:
    """A child that is stopped unless it is its turn.

    It has a session of its own: the kernel continues the stopped members of a process group when the shell
    that started the group ends.
    """

    def __init__(self, command: list[str], **pipes):
        self.peak = 0
        self.child = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
        atexit.register(self.close)

    def stopped(self) -> bool:
        return self.child.poll() is None and status_of(self.child.pid, "State") == "T"

    def resume(self) -> None:
        if not self.stopped():
            raise Failure(f"{self.child.args[0]} has worked out of turn, or ended; run again")
        self.child.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        self.child.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while not self.stopped():
            if time.monotonic() > deadline:
                raise Failure(f"{self.child.args[0]} does not stop, or has ended")
            time.sleep(0.001)
        self.peak = max(self.peak, int(status_of(self.child.pid, "VmHWM")) * 1024)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


class Worker(Process):
    """A Python worker: a line asks, a line answers (worker.py)."""

    def __init__(self, name: str, script: str, arguments: list[str], repeats: int):
        super().__init__(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.name, self.repeats = name, repeats
        self.log: deque[str] = deque(maxlen=15)
        self.about = self._answer(START_SECONDS)
        self.pause()

    def turn(self, turn: Turn) -> float:
        return self.ask({"rows": turn.rows, "logits": turn.logits, "repeats": self.repeats})

    def ask(self, request: dict) -> float:
        self.resume()
        self.child.stdin.write(json.dumps(request) + "\n")
        self.child.stdin.flush()
        ms = self._answer(TURN_SECONDS)["ms"]
        self.pause()
        return ms

    def _answer(self, seconds: float) -> dict:
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            ready = select.select([self.child.stdout, self.child.stderr], [], [], max(0, left))[0]
            if self.child.stdout in ready:
                line = self.child.stdout.readline()
                if line:
                    return json.loads(line)
            if self.child.stderr in ready:
                self.log.append(os.read(self.child.stderr.fileno(), 1 << 16).decode(errors="replace"))
            if not ready or self.child.poll() is not None:
                raise Failure(f"{self.name} gave no answer:\n{''.join(self.log)}")


class DvlmPasses(Process):
    """`dvlm bench pass`, whose lines are the turns in the order in which they will be asked for.

    The command makes its weights once and times line after line; each line begins with a pass that is not
    counted. Its progress bar says when a line is done, and then it is stopped: in that pass, or before it. A
    first line more than there are turns absorbs the start. Times come with the output, at the end.
    """

    def __init__(
        self, name: str, program: str, precision: str, threads: int, turns: list[Turn], repeats: int
    ):
        self.name, self.turns = name, turns
        self.walls: list[float] = []
        self.lines = 0  # done, the first included
        self.terminal, terminal = pty.openpty()
        rows = ",".join(str(turn.rows) for turn in [Turn("", 1), *turns])
        command = [program, "bench", "pass", "--shape", "3b", "--precision", precision, "--rows", rows]
        command += ["--context", "0", "--repeats", str(repeats), "--threads", str(threads), "--json"]
        super().__init__(command, stdout=subprocess.PIPE, stderr=terminal)
        os.close(terminal)
        self.shown = ""
        self._line_done(START_SECONDS)
        self.pause()

    def turn(self, turn: Turn) -> None:
        if turn != self.turns[len(self.walls)]:
            raise Failure("dvlm's turns are not taken in the order in which they were announced")
        start = time.monotonic()
        self.resume()
        self._line_done(TURN_SECONDS)
        self.walls.append((time.monotonic() - start) * 1e3)
        if len(self.walls) < len(self.turns):
            self.pause()
        else:
            self.output, self.peak = finish(self.child)

    def results(self) -> list[float]:
        """Milliseconds per turn, once all were taken."""
        out = json.loads(self.output)
        times = [line["ms"] for line in out["passes"][1:]]
        for ms, wall in zip(times, self.walls, strict=True):
            if ms > wall:  # the pass had begun before the stop and holds the wait
                raise Failure("dvlm was stopped in a timed pass; run again")
        self.about = {"versions": {"dvlm's ISA": out["isa"]}, "weights_bytes": out["passes"][0]["bytes"]}
        return times

    def _line_done(self, seconds: float) -> None:
        self.lines += 1
        wanted = f"{self.lines}/{len(self.turns) + 1}"
        deadline = time.monotonic() + seconds
        while not re.search(rf"\b{wanted}\b", self.shown):
            left = deadline - time.monotonic()
            if not select.select([self.terminal], [], [], max(0, left))[0]:
                raise Failure(f"{self.name} did not report line {wanted}: {self.shown[-500:]}")
            try:
                self.shown += os.read(self.terminal, 1 << 16).decode(errors="replace")
            except OSError:  # the other side is closed: the program has ended
                raise Failure(f"{self.name} ended: {self.shown[-500:]}") from None
        self.shown = ""


class DvlmImage:
    """`dvlm bench image`, a whole command per turn: nothing in it says when it could be stopped."""

    def __init__(self, name: str, program: str, threads: int, size: str):
        self.name, self.peak = name, 0
        self.about: dict = {"versions": {}}
        self.seen: list[dict] = []
        self.command = [program, "bench", "image", "--size", size, "--precision", "bf16", "--repeats", "1"]
        self.command += ["--threads", str(threads), "--json"]

    def turn(self, turn: Turn) -> float:
        child = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        out, peak = finish(child)
        self.peak = max(self.peak, peak)
        self.seen.append(json.loads(out)["image"][0])
        return self.seen[-1]["vision_ms"]

    def close(self) -> None:
        pass


def dvlm_version(program: str) -> str:
    out = subprocess.run([program, "--version"], capture_output=True, text=True)
    return out.stdout.removeprefix("dvlm").strip() or "unknown"
