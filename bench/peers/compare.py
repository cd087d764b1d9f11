#!/usr/bin/env python3
"""Measures llama.cpp and PyTorch beside dvlm: the same shape, the same threads, turn by turn in one run.

Run it with the interpreter of bench/peers/.venv (setup.sh). What is equal and what is not: README.md here.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import make_gguf
from programs import DvlmImage, DvlmPasses, Failure, Turn, Worker, dvlm_version
from report import Group, Sample, markdown, to_json
from shapes import TextShape, VisionShape

REPOSITORY = Path(__file__).resolve().parents[2]
GROUPS = {
    "bf16": "BF16 text model, llama.cpp",
    "8bit": "text model in eight bits: dvlm W8A8 FP8, llama.cpp Q8_0",
    "int8": "text model in eight bits: dvlm W8A8 INT8, llama.cpp Q8_0",
    "int4": "text model in four bits: dvlm INT4, llama.cpp Q4_0",
    "torch": "BF16 text model, PyTorch",
    "vision": "BF16 vision tower, PyTorch",
}
# dvlm's precision, the type of llama.cpp's file, and what both are.
TEXT = {
    "bf16": ("bf16", "bf16", "BF16"),
    "8bit": ("fp8", "q8_0", "8 bits"),
    "int8": ("int8", "q8_0", "8 bits"),
    "int4": ("int4", "q4_0", "4 bits"),
    "torch": ("bf16", None, "BF16"),
}
# Both programs of the group at work.
FREE_GIB = {"bf16": 16.0, "8bit": 9.0, "int8": 8.5, "int4": 6.0, "torch": 16.5, "vision": 9.0}
LONG = 1024  # rows of a prefill


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/peers/.venv/bin/python bench/peers/compare.py --groups 8bit --rounds 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--groups", default=",".join(GROUPS), help="which of %(default)s, separated by commas"
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds over the short work (default: 9)")
    parser.add_argument(
        "--long-rounds", type=int, default=3, help=f"rounds over passes of {LONG} rows (default: 3)"
    )
    parser.add_argument(
        "--vision-rounds", type=int, default=3, help="rounds over the picture (default: 3)"
    )
    parser.add_argument("--repeats", type=int, default=1, help="passes per turn (default: 1)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each program (default: 2)")
    parser.add_argument("--size", default="644x476", help="the picture, WIDTHxHEIGHT (default: 644x476)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=REPOSITORY / "build/peers",
        help="for GGUF files (default: build/peers)",
    )
    parser.add_argument(
        "--dvlm",
        default=str(REPOSITORY / "build/release/apps/dvlm/dvlm"),
        help="the program (default: the release build's)",
    )
    parser.add_argument(
        "--ubatch",
        type=int,
        default=512,
        help="llama.cpp's n_ubatch: rows that share a pass over the weights (default: 512, its own)",
    )
    parser.add_argument(
        "--no-mmap", action="store_true", help="let llama.cpp read its file instead of mapping it"
    )
    parser.add_argument(
        "--layers",
        type=int,
        default=TextShape.layers,
        help="cut the peers' text models for a quick try; dvlm keeps all 36, so no ratios are given",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample here")
    args = parser.parse_args()
    unknown = set(args.groups.split(",")) - set(GROUPS)
    if unknown:
        parser.error(f"--groups: there is no {', '.join(sorted(unknown))}")
    if min(args.rounds, args.repeats, args.threads, args.layers) < 1 or args.long_rounds < 0:
        parser.error("numbers must be positive")
    if args.long_rounds > args.rounds:
        parser.error("--long-rounds is more than --rounds")
    try:
        VisionShape().grid(args.size)
    except ValueError as error:
        parser.error(f"--size: {error}")
    return args


# Rounds of turns. The programs change places from turn to turn, so that drift favours none.
Schedule = list[list[Turn]]


def text_schedule(args: argparse.Namespace, precision: str) -> Schedule:
    long_rounds = {i * args.rounds // args.long_rounds for i in range(args.long_rounds)}
    short = [Turn(f"{precision}, {n} row{'s' * (n > 1)}", n) for n in (1, 32)]
    prefill = Turn(f"{precision}, {LONG:,} rows", LONG, "last")
    return [short + [prefill] * (number in long_rounds) for number in range(args.rounds)]


def run(group: Group, dvlm, peer, schedule: Schedule) -> None:
    programs = [dvlm, peer]
    try:
        number = 0
        for at, turns in enumerate(schedule):
            say(f"{group.title}: round {at + 1} of {len(schedule)}")
            for turn in turns:
                order = programs if number % 2 == 0 else programs[::-1]
                number += 1
                for program in order:
                    ms = program.turn(turn)
                    group.samples.append(Sample(program.name, turn.work, at, ms))
        if isinstance(dvlm, DvlmPasses):
            times = iter(dvlm.results())
            for sample in group.samples:
                if sample.program == dvlm.name:
                    sample.ms = next(times)
        group.programs = {program.name: program.about | {"peak": program.peak} for program in programs}
    finally:
        for program in programs:
            program.close()


def text_group(args: argparse.Namespace, key: str) -> Group:
    precision, kind, work = TEXT[key]
    schedule = text_schedule(args, work)
    turns = [turn for round_ in schedule for turn in round_]
    widest = max(turn.rows for turn in turns)
    threads = ["--threads", str(args.threads)]
    if key == "torch":
        say("PyTorch makes its weights")
        cut = ["--layers", str(args.layers)]
        peer = Worker("PyTorch BF16", "torch_worker.py", ["text", *threads, *cut], args.repeats)
    else:
        gguf = make_gguf.path_of(args.folder, kind, args.layers)
        if not gguf.exists():
            say(f"writing {gguf}")
        make_gguf.ensure(args.folder, kind, args.layers)
        options = [str(gguf), *threads, "--widest", str(widest), "--ubatch", str(args.ubatch)]
        options += ["--no-mmap"] if args.no_mmap else []
        say(f"llama.cpp loads {gguf}")
        peer = Worker(f"llama.cpp {kind.upper()}", "llama_worker.py", options, args.repeats)
    group = Group(key, GROUPS[key], comparable=args.layers == TextShape.layers)
    if not group.comparable:
        group.notes.append(
            f"The peer has {args.layers} of {TextShape.layers} layers and dvlm has all: no ratios."
        )
    try:
        say("dvlm makes its weights")
        name = f"dvlm {precision.upper()}"
        dvlm = DvlmPasses(name, args.dvlm, precision, args.threads, turns, args.repeats)
    except BaseException:
        peer.close()
        raise
    run(group, dvlm, peer, schedule)
    return group


def vision_group(args: argparse.Namespace) -> Group:
    group = Group("vision", f"{GROUPS['vision']}, {args.size}", comparable=True)
    dvlm = DvlmImage("dvlm BF16", args.dvlm, args.threads, args.size)
    options = ["vision", "--threads", str(args.threads), "--size", args.size]
    peer = Worker("PyTorch BF16", "torch_worker.py", options, repeats=1)
    turn = Turn(f"vision encode, {args.size}")
    run(group, dvlm, peer, [[turn]] * args.vision_rounds)
    group.extra["dvlm bench image"] = dvlm.seen
    return group


def need_memory(key: str, layers: int) -> None:
    available = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) / 2**20
    if available < FREE_GIB[key] and layers == TextShape.layers:
        raise Failure(f"group {key} needs {FREE_GIB[key]} GiB, available are {available:.1f} GiB")


def machine() -> dict:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].split(":")[1].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_at_start": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    git = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


def main() -> None:
    args = parse_arguments()
    # Ends by way of every `finally`: a stopped child would outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not os.access(args.dvlm, os.X_OK):
        raise Failure(f"there is no program {args.dvlm}; build it with ./dev build, or name it with --dvlm")
    about = {"machine": machine(), "threads": args.threads, "arguments": sys.argv[1:]}
    about["versions"] = {"dvlm": dvlm_version(args.dvlm), "this checkout": commit()}
    groups = []
    for key in args.groups.split(","):
        need_memory(key, args.layers)
        groups.append(vision_group(args) if key == "vision" else text_group(args, key))
        if args.json:  # what is there so far, should a later group fail
            args.json.write_text(json.dumps(to_json(about, groups), indent=1) + "\n")
    print(markdown(about, groups))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"compare.py: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
