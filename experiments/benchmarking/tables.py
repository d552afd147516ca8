"""The benchmark's numbers in words: lines on the terminal, and a summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.benchmarking.peer_layers import EARLIER, PEERS
from experiments.benchmarking.results import CONVOLUTION, CaseResult, NetworkResult, Results
from experiments.benchmarking.targets import (
    Target,
    Verdict,
    evaluate,
    over_best,
    over_floor,
    over_planned,
)

_WORST = 5
_WORDS = {"forward": "forward", "training": "forward and backward"}
_DISTURBED = 0.05
_PEERS_HEAD = [name.replace("_", " ") for name in PEERS]
HEADER = (
    f"{'layer':>11} {'rank':>4} {'batch':>5} {'pass':>8} {'dense':>9} {'planned':>9}"
    f" {'speed-up':>8} {'/best':>5} {'/floor':>6} {'einsum':>7} {'low rank':>8}"
    "  peers: time over planned's"
)


_RATIOS = {
    "Dense over ours": over_planned("dense"),
    "The earlier revision over ours": over_planned(EARLIER),
    "Ours over the floor": over_floor,
    "FastKron over ours": over_planned("fastkron"),
    "LyCORIS LoKr over ours": over_planned("lycoris"),
}


def duration(seconds: float | None) -> str:
    """Returns a time with three digits and a unit."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.2f} us"


def line(result: CaseResult) -> str:
    """Returns a case's numbers under HEADER.

    einsum, low rank and peers: their time over the planned product's.
    """
    case = result.case
    peers = " ".join(f"{name} {_peer(result, name)}" for name in PEERS if name in result.entries)
    if (result.other_load or 0) > _DISTURBED:
        peers += f"  (disturbed: {result.other_load:.0%} of the cores)"
    return (
        f"{f'{case.inputs}x{case.features}':>11} {case.rank:>4} {case.batch:>5} {case.pass_:>8}"
        f" {duration(result.seconds('dense')):>9} {duration(result.seconds('planned')):>9}"
        f" {_times(result.ratio('dense', 'planned')):>8} {_number(over_best(result)):>5}"
        f" {_number(over_floor(result)):>6} {_times(result.ratio('einsum', 'planned')):>7}"
        f" {_times(result.ratio('low_rank', 'planned')):>8}  {peers}"
    )


def network_line(network: NetworkResult) -> str:
    """Returns a network's numbers."""
    times = {kind: entry.timing for kind, entry in network.entries.items()}
    dense, kfc = times["dense"], times["kfc"]
    alone = [time for name, time in times.items() if time and name.startswith(CONVOLUTION)]
    if not dense or not kfc:
        return f"{network.name}: not measured"
    convolutions = " + ".join(duration(time.median) for time in alone)
    return (
        f"{network.name}, batch {network.batch}, a training step: dense {duration(dense.median)}, "
        f"{network.structure} {duration(kfc.median)}, {dense.median / kfc.median:.2f}x"
        + (f"; its convolutions alone {convolutions}" if alone else "")
    )


def summary(results: Results) -> str:
    """Returns everything in Markdown: machine, targets with the worst cases, and all cases."""
    parts = [
        "# Benchmark",
        f"`{results.command}`",
        _machine(results),
        "## Targets",
        *_targets(evaluate(results)),
    ]
    if results.networks:
        networks = "\n".join(f"- {network_line(n)}" for n in results.networks.values())
        parts += ["## Whole training steps", networks]
    parts += ["## Ratios", *_ratios(results)]
    parts += [
        "## Cases",
        "Times are medians; speed-up: dense over planned; einsum, low rank (with as many "
        "parameters) and peers: their time over the planned product's, each peer's over one "
        "measured right before it; /best: planned over the best forced strategy (one program is "
        "timed once). Floor: the larger of FLOPs over the machine's measured peak "
        "and bytes over its measured bandwidth.",
        "\n".join(_cases(results)),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(results: Results) -> str:
    machine, versions = results.machine, results.versions
    lines = [
        f"- {machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB; "
        f"JAX on {machine.get('platform')} ({machine.get('kind')})",
        "- " + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    if disturbed := [r for r in results.cases.values() if (r.other_load or 0) > _DISTURBED]:
        worst = max(disturbed, key=lambda r: r.other_load)
        lines.append(
            f"- other processes took over {_DISTURBED:.0%} of the cores' time in "
            f"{len(disturbed)} of {len(results.cases)} cases, at most {worst.other_load:.0%} "
            f"({worst.case.key}): do not trust those"
        )
    for session in results.sessions:
        start, end = session["start"], session.get("end")
        text = (
            f"- {session['time']}: peak {start['flops'] / 1e9:.0f} GFLOP/s, "
            f"{start['bandwidth'] / 1e9:.1f} GB/s, {start['call_seconds'] * 1e6:.0f} us a call"
        )
        if end:
            text += (
                f"; at the end {end['flops'] / 1e9:.0f} GFLOP/s "
                f"({end['flops'] / start['flops'] - 1:+.0%}), "
                f"{end['bandwidth'] / 1e9:.1f} GB/s "
                f"({end['bandwidth'] / start['bandwidth'] - 1:+.0%})"
            )
        lines.append(text)
    lines += [f"- {peer}: {state}" for peer, state in results.peers.items()]
    return "\n".join(lines)


def _ratios(results: Results) -> Iterator[str]:
    """Yields a table of every ratio: a row a layer, a column a rank, a number a batch."""
    cases = [result.case for result in results.cases.values()]
    layers, ranks, batches, passes = (
        list(dict.fromkeys(values))
        for values in (
            (f"{case.inputs} -> {case.features}" for case in cases),
            (case.rank for case in cases),
            (case.batch for case in cases),
            (case.pass_ for case in cases),
        )
    )
    found = {
        (f"{r.case.inputs} -> {r.case.features}", r.case.rank, r.case.batch, r.case.pass_): r
        for r in results.cases.values()
    }
    for title, ratio in _RATIOS.items():
        values = {key: value for key, r in found.items() if (value := ratio(r)) is not None}
        for pass_ in passes:
            if not any(key[3] == pass_ for key in values):
                continue
            rows = [
                f"{title}, {_WORDS[pass_]}, at batch {' / '.join(map(str, batches))}:",
                "",
                f"| layer | {' | '.join(f'rank {rank}' for rank in ranks)} |",
                "| --- " * (1 + len(ranks)) + "|",
            ]
            for layer in layers:
                cells = (
                    " / ".join(_short(values.get((layer, rank, b, pass_))) for b in batches)
                    for rank in ranks
                )
                rows.append(f"| {layer} | {' | '.join(cells)} |")
            yield "\n".join(rows)


def _short(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _targets(outcomes: list[Verdict]) -> Iterator[str]:
    rows = ["| target | bound | holds in | worst | mean |", "| --- | --- | --- | --- | --- |"]
    for outcome in outcomes:
        target, worst = outcome.target, next(iter(outcome.ratios.items()), None)
        rows.append(
            f"| {target.title} | {'<=' if target.at_most else '>='} {target.limit:g} | "
            + (
                f"{outcome.met} of {len(outcome.ratios)}{_wanted(target)} | "
                f"{worst[1]:.2f} ({worst[0]}) | {outcome.mean:.2f} |"
                if worst
                else "not measured | | |"
            )
        )
    yield "\n".join(rows)
    for outcome in outcomes:
        missed = {key: r for key, r in outcome.ratios.items() if not outcome.holds(r)}
        if missed:
            worst = ", ".join(f"{key} {r:.2f}" for key, r in list(missed.items())[:_WORST])
            more = f", and {len(missed) - _WORST} more" if len(missed) > _WORST else ""
            yield f"Falls short, {outcome.target.title}: {worst}{more}."


def _wanted(target: Target) -> str:
    return "" if target.share == 1 else f" ({target.share:.0%} wanted)"


def _cases(results: Results) -> Iterator[str]:
    head = ["layer", "rank", "batch", "pass", "dense", "planned", "quartiles", "speed-up", "best"]
    head += ["/best", "/floor", "einsum", "low rank", *_PEERS_HEAD, "plan"]
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join(['---'] * len(head))} |"
    for result in results.cases.values():
        case, planned = result.case, result.entries.get("planned")
        timing = planned.timing if planned else None
        columns = [
            f"{case.inputs}x{case.features}",
            str(case.rank),
            str(case.batch),
            case.pass_,
            duration(result.seconds("dense")),
            duration(result.seconds("planned")),
            f"{duration(timing.low)} - {duration(timing.high)}" if timing else "-",
            _times(result.ratio("dense", "planned")),
            result.best_strategy or "-",
            _number(over_best(result)),
            _number(over_floor(result)),
            _times(result.ratio("einsum", "planned")),
            _times(result.ratio("low_rank", "planned")),
            *(_peer(result, name) for name in PEERS),
            planned.note if planned else "",
        ]
        yield f"| {' | '.join(columns)} |"


def _peer(result: CaseResult, name: str) -> str:
    entry = result.entries.get(name)
    if entry is None:
        return "-"
    return _times(result.ratio(name, "planned")) if entry.timing else f"({entry.note[:40]})"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3g}x" if ratio < 100 else f"{ratio:.0f}x"


def _number(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
