#!/usr/bin/env python3
"""Adds up what tools/ablate.sh left in a folder: two tables and a plot of means with 95 % intervals over seeds.

  tools/ablation_table.py FOLDER

Reads FOLDER/VARIANT/seed-N/eval.json and train.jsonl; writes FOLDER/ablations.md and FOLDER/ablations.svg and prints the
tables: scores and speeds, and what each variant changes beside what it changed in the paper. Intervals are Student's t
over the seeds; with one seed there are none. Runs that are not evaluated are left out. Exit status 1 when there is
nothing to add up.
"""

import argparse
import json
import sys
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

ORDER = ["full", "no-annealing", "no-causal-context", "no-auto-truncation", "no-vision-efficient", "no-complement",
         "two-stage"]
# What the averages of Fast-dVLM's paper (arXiv 2604.06832) lose: of six benchmarks in its ablations, of ten by two stages.
PAPER = {
    "no-annealing": 54.8 - 57.3,
    "no-causal-context": 44.4 - 57.3,
    "no-auto-truncation": 55.2 - 57.3,
    "two-stage": 60.2 - 73.3,
}
# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; above that the normal distribution's is near enough.
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131]
COLOURS = {"mdm": "#1f77b4", "spec": "#d62728"}


def interval(values):
    """Half the width of the 95 % interval of the mean; None with one value."""
    degrees = len(values) - 1
    if degrees < 1:
        return None
    return (STUDENT[degrees - 1] if degrees <= len(STUDENT) else 1.96) * stdev(values) / sqrt(len(values))


def text(values, form="{:.1f}", scale=1.0):
    """`mean ± half width` of the values, those that are None left out."""
    values = [scale * v for v in values if v is not None]
    if not values:
        return "-"
    width = interval(values)
    return form.format(mean(values)) + ("" if width is None else " ± " + form.format(width))


def read_steps(log):
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def read_run(folder):
    """What one run gave: {"steps": n, "mdm": {...}, "spec": {...}}. A first stage lies in a folder inside."""
    run = {"steps": read_steps(folder / "train.jsonl") + read_steps(folder / "text" / "train.jsonl")}
    for result in json.loads((folder / "eval.json").read_text(encoding="utf-8")):
        scores = {part["name"].strip("*"): part["score"] for part in result["parts"] if part["answers"]}
        run[result["decoder"]] = {
            "short score": scores.get("all short types"),
            "all score": scores.get("all"),
            "long tokens_per_nfe": result["long"]["tokens_per_nfe"] if result["long"]["answers"] else None,
        }
    return run


def read_runs(root):
    """{variant: {seed: run}} of all runs that are evaluated, variants in the order of the script."""
    runs = {}
    for file in root.glob("*/seed-*/eval.json"):
        variant, seed = file.parent.parent.name, int(file.parent.name.removeprefix("seed-"))
        runs.setdefault(variant, {})[seed] = read_run(file.parent)
    return dict(sorted(runs.items(), key=lambda item: (ORDER.index(item[0]) if item[0] in ORDER else len(ORDER), item[0])))


def column(runs, decoder, key):
    return [run[decoder][key] if decoder in run else None for run in runs.values()]


def against_full(runs, full):
    """Differences of all answers by mdm to the full recipe, of the seeds that both have: they share data and noise."""
    return [100 * (run["mdm"]["all score"] - full[seed]["mdm"]["all score"]) for seed, run in runs.items() if seed in full]


def direction(differences, paper):
    """Whether the variant changes the score the way it does in the paper."""
    if paper is None or not differences:
        return "-"
    width = interval(differences)
    if width is None:
        return "one seed"
    if abs(mean(differences)) <= width:
        return "interval includes zero"
    return "agrees" if (mean(differences) < 0) == (paper < 0) else "does not agree"


def rows(header, lines):
    """A table whose first column is text."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in (header, rule, *lines))


def scores(all_runs):
    header = ["variant", "seeds", "steps", "mdm: short", "mdm: all", "spec: short", "spec: all", "mdm: tokens per pass",
              "spec: tokens per pass"]
    lines = []
    for variant, runs in all_runs.items():
        line = [variant, str(len(runs)), f"{mean(run['steps'] for run in runs.values()):.0f}"]
        for decoder in COLOURS:
            line += [text(column(runs, decoder, f"{which} score"), scale=100) for which in ("short", "all")]
        line += [text(column(runs, decoder, "long tokens_per_nfe"), "{:.2f}") for decoder in COLOURS]
        lines.append(line)
    return rows(header, lines)


def comparison(all_runs):
    """Each variant against the full recipe, and the same in the paper; '' where there is nothing to compare."""
    full = all_runs.get("full", {})
    lines = []
    for variant, runs in all_runs.items():
        differences = against_full(runs, full)
        if variant == "full" or not differences:
            continue
        paper = PAPER.get(variant)
        ours = text(differences, "{:+.1f}").replace("± +", "± ")
        lines.append([variant, ours, "-" if paper is None else f"{paper:+.1f}", direction(differences, paper)])
    header = ["against full, mdm, all answers", "points", "in the paper", "direction"]
    return "\n" + rows(header, lines) if lines else ""


def table(all_runs):
    return scores(all_runs) + comparison(all_runs)


def plot(all_runs):
    """Percent of all answers: a dot for each mean, a bar for its interval, a faint dot for each seed."""
    left, width, top, row = 170, 460, 30, 44
    bottom = top + row * len(all_runs)
    values = [100 * v for runs in all_runs.values() for d in COLOURS for v in column(runs, d, "all score") if v is not None]
    low, high = max(0.0, min(values) - 5), min(100.0, max(values) + 5)

    def x(value):
        return left + width * (min(max(value, low), high) - low) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 30}" height="{bottom + 50}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    step = next(s for s in (1, 2, 5, 10, 20) if (high - low) / s <= 10)
    tick = -(-low // step) * step
    while tick <= high:
        out.append(f'<line x1="{x(tick):.1f}" y1="{top}" x2="{x(tick):.1f}" y2="{bottom}" stroke="#ddd"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:.0f}</text>')
        tick += step
    out.append(f'<text x="{left + width / 2}" y="{bottom + 36}" text-anchor="middle">answers that are right, %</text>')
    for i, (decoder, colour) in enumerate(COLOURS.items()):
        out.append(f'<circle cx="{left + 70 * i}" cy="14" r="4" fill="{colour}"/>')
        out.append(f'<text x="{left + 70 * i + 9}" y="18">{decoder}</text>')
    for i, (variant, runs) in enumerate(all_runs.items()):
        out.append(f'<text x="{left - 12}" y="{top + row * i + row / 2 + 4}" text-anchor="end">{variant}</text>')
        for j, (decoder, colour) in enumerate(COLOURS.items()):
            own = [100 * v for v in column(runs, decoder, "all score") if v is not None]
            if not own:
                continue
            y, middle = top + row * i + row / 2 - 7 + 14 * j, mean(own)
            spread = interval(own) or 0
            out.append(f'<line x1="{x(middle - spread):.1f}" y1="{y}" x2="{x(middle + spread):.1f}" y2="{y}" stroke="{colour}"/>')
            out += [f'<circle cx="{x(v):.1f}" cy="{y}" r="2" fill="{colour}" fill-opacity="0.4"/>' for v in own]
            out.append(f'<circle cx="{x(middle):.1f}" cy="{y}" r="4" fill="{colour}"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    root = parser.parse_args().folder
    runs = read_runs(root)
    if not runs:
        print(f"{root} holds no evaluated run (VARIANT/seed-N/eval.json)", file=sys.stderr)
        return 1
    lines = table(runs)
    (root / "ablations.md").write_text(lines, encoding="utf-8")
    (root / "ablations.svg").write_text(plot(runs), encoding="utf-8")
    print(lines, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
