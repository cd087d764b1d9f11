"""Samples to medians, ratios and tables."""

import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Sample:
    program: str
    work: str
    round: int
    ms: float


@dataclass
class Group:
    """Two programs that took turns, dvlm first in `programs`."""

    key: str
    title: str
    comparable: bool  # whether both do the same work
    samples: list[Sample] = field(default_factory=list)
    programs: dict[str, dict] = field(default_factory=dict)  # name to weights_bytes, peak, versions
    notes: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)


@dataclass
class Line:
    """One kind of work. Ratios are the peer's time over dvlm's of the same round: above 1 dvlm is faster."""

    work: str
    dvlm: list[float]
    peer: list[float]
    ratios: list[float]


def lines(group: Group) -> list[Line]:
    out = []
    for work in dict.fromkeys(sample.work for sample in group.samples):
        times: dict[bool, dict[int, float]] = {True: {}, False: {}}
        for sample in group.samples:
            if sample.work == work:
                times[sample.program.startswith("dvlm")][sample.round] = sample.ms
        both = [number for number in times[True] if number in times[False]] if group.comparable else []
        ratios = [times[False][number] / times[True][number] for number in both]
        out.append(Line(work, [*times[True].values()], [*times[False].values()], ratios))
    return out


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times):,.1f}" if times else "-"


def markdown(about: dict, groups: list[Group]) -> str:
    machine = about["machine"]
    out = [
        f"{machine['cpu']}, {machine['cores']} cores, {about['threads']} threads each,"
        f" load {machine['load_at_start']:.2f} at the start. Times are medians in ms; a ratio is the peer's"
        " time over dvlm's in the same round (above 1: dvlm is faster), given as median (least to most).",
        "",
        "| work | dvlm | peer | dvlm ms | peer ms | ratio | rounds |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for group in groups:
        dvlm = next((name for name in group.programs if name.startswith("dvlm")), "-")
        peer = next(name for name in group.programs if not name.startswith("dvlm"))
        for line in lines(group):
            ratio = "-"
            if line.ratios:
                low, high = min(line.ratios), max(line.ratios)
                ratio = f"{statistics.median(line.ratios):.2f} ({low:.2f} to {high:.2f})"
            row = [line.work, dvlm, peer, _ms(line.dvlm), _ms(line.peer), ratio, str(len(line.peer))]
            out.append("| " + " | ".join(row) + " |")
    out += ["", "| group | program | weights GB | peak resident GB |", "| --- | --- | ---: | ---: |"]
    versions = dict(about["versions"])
    for group in groups:
        for name, program in group.programs.items():
            weights = program.get("weights_bytes")
            size = f"{weights / 1e9:.2f}" if weights else "-"
            out.append(f"| {group.title} | {name} | {size} | {program['peak'] / 1e9:.2f} |")
            versions |= program["versions"]
    notes = [f"{group.title}: {note}" for group in groups for note in group.notes]
    out += ["", *(line for note in notes for line in (note, ""))]
    versions |= {"Python": machine["python"], "Linux": machine["kernel"]}
    out += ["Versions: " + "; ".join(f"{name} {version}" for name, version in versions.items()) + "."]
    return "\n".join(out)


def to_json(about: dict, groups: list[Group]) -> dict:
    return about | {
        "groups": [
            asdict(group)
            | {
                "medians": [
                    {
                        "work": line.work,
                        "dvlm_ms": statistics.median(line.dvlm) if line.dvlm else None,
                        "peer_ms": statistics.median(line.peer) if line.peer else None,
                        "ratio": statistics.median(line.ratios) if line.ratios else None,
                    }
                    for line in lines(group)
                ]
            }
            for group in groups
        ]
    }
