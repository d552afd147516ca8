"""The benchmark itself: case by case, written as it goes, so that it can be stopped any time."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from experiments.benchmarking import machine, tables
from experiments.benchmarking.cases import Case
from experiments.benchmarking.compiled import CompiledCall, compile_call
from experiments.benchmarking.contenders import contenders, floor_work
from experiments.benchmarking.networks import measure_network
from experiments.benchmarking.peer_layers import EARLIER, PEERS
from experiments.benchmarking.peer_process import describe
from experiments.benchmarking.peers import PeerProcess
from experiments.benchmarking.results import CaseResult, Entry, Results, open_results
from experiments.benchmarking.revisions import checked_out
from experiments.benchmarking.timing import Timing, in_turns
from experiments.runs import provenance
from experiments.system import clock, write_file

_COMPILING = 6.0  # seconds a case, about
_FLOPS = 1e11  # a second, about
_TRIES, _STEADY = 3, 0.9  # measurements of a case; part of the peak that there must be all along
_MUCH_MEMORY = 32 * 2**20  # bytes that an allocator gives back at once


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
      cases: the cases, in the order of measuring.
      networks: names of networks, of `networks.NETWORKS`.
      peers: names of `peer_layers.PEERS`.
      peers_python: interpreter that has them.
      against: an earlier revision of this repository, which is a peer too; empty: none.
      seconds: measuring time of a case, about; half of it more for every peer.
      command: the command that was given.
    """

    cases: Sequence[Case]
    networks: Sequence[str] = ()
    peers: Sequence[str] = ()
    peers_python: str = sys.executable
    against: str = ""
    seconds: float = 1.5
    command: str = ""


def run(options: Options, out: Path, say: Callable[[str], None] = print) -> Results:
    """Measures what `out` does not hold yet, and writes everything there.

    Raises:
      ValueError: if `out` holds results of another command, machine or code.
      OSError: if it cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    revision = {"git": provenance.git_revision() or "none"}
    fresh = Results(options.command, provenance.versions() | revision, machine.description())
    results = open_results(out, fresh)
    todo = [case for case in options.cases if case.key not in results.cases]
    networks = [name for name in options.networks if name not in results.networks]
    say(f"{len(options.cases)} cases, {len(options.cases) - len(todo)} of them done; in {out}")
    if todo or networks:
        with _peers(
            options if todo else dataclasses.replace(options, peers=(), against="")
        ) as peers:
            if peers:
                results.peers = {p.peer: p.version or f"missing: {p.missing}" for p in peers}
            _measure_all(options, todo, networks, peers, results, out, say)
    write_file(out / "summary.md", tables.summary(results))
    from experiments.benchmarking.picture import draw  # loads slowly, and is not needed before

    draw(results, out)
    return results


def _measure_all(
    options: Options,
    todo: Sequence[Case],
    networks: Sequence[str],
    peers: Sequence[PeerProcess],
    results: Results,
    out: Path,
    say: Callable[[str], None],
) -> None:
    meter = machine.PeakMeter()
    session = {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "start": dataclasses.asdict(meter.measure()),
    }
    results.sessions.append(session)
    start, work_done, work = time.monotonic(), 0.0, sum(map(_expected_seconds, todo))
    if todo:
        say(f"{'left':>8} {tables.HEADER}")
    for case in todo:
        result = measure_case(case, options.seconds, peers, meter)
        results.cases[case.key] = result
        results.save(out)
        work_done += _expected_seconds(case)
        left = (time.monotonic() - start) * (work / work_done - 1)
        say(f"{clock(left):>8} {tables.line(result)}")
    for name in networks:
        results.networks[name] = measure_network(name, 4 * options.seconds)
        results.save(out)
        say(tables.network_line(results.networks[name]))
    session["end"] = dataclasses.asdict(meter.measure())
    results.save(out)


def measure_case(
    case: Case, seconds: float, peers: Sequence[PeerProcess], meter: machine.PeakMeter
) -> CaseResult:
    """Compiles and times everything in a case: ours in turns, then each peer in its process."""
    load = machine.LoadMeter([peer.pid for peer in peers if peer.pid])
    calls: dict[str, CompiledCall] = {}
    entries: dict[str, Entry] = {}
    same: dict[str, str] = {}  # contenders whose program is that of another one
    by_plan: dict[str, str] = {}
    for contender in contenders(case):
        if contender.plan in by_plan:
            same[contender.name] = by_plan[contender.plan]
            continue
        if contender.plan:
            by_plan[contender.plan] = contender.name
        try:
            call = compile_call(contender.function, contender.arguments)
            if _exceeds_memory(call):
                raise MemoryError(f"needs {call.temporary_bytes / 2**30:.1f} GiB")
            call()
        except Exception as error:  # one that does not work is no reason to stop
            entries[contender.name] = Entry(note=describe(error))
            continue
        calls[contender.name] = call
        entries[contender.name] = Entry(
            note=contender.plan,
            compile_seconds=call.compile_seconds,
            temporary_bytes=call.temporary_bytes,
            flops=contender.flops,
        )
    peaks, timings = _timings(case, calls, seconds, meter)
    for name, timing in timings.items():
        entries[name] = dataclasses.replace(entries[name], timing=timing)
    entries |= {name: entries[other] for name, other in same.items()}
    for peer in peers:
        if case.pass_ == "training" and not PEERS[peer.peer].trains:
            continue
        entries[peer.peer] = _measure_peer(case, seconds / 2, peer, calls)
    return CaseResult(case, entries, peaks.flops, peaks.bandwidth, load.of_others())


def _timings(
    case: Case, calls: dict[str, CompiledCall], seconds: float, meter: machine.PeakMeter
) -> tuple[machine.Peaks, dict[str, Timing]]:
    """Times ours in turns, again if the machine changed meanwhile; returns its peaks as well."""
    # What needs much memory leaves a machine that is slow for a while, as its memory goes back to
    # the system: that would be counted to whoever comes next.
    hungry = {name for name, call in calls.items() if (call.temporary_bytes or 0) > _MUCH_MEMORY}
    touched = floor_work(case)[1]
    for _ in range(_TRIES):
        before = meter.measure(0.2, touched)
        timings = {}
        for group in (calls.keys() - hungry, hungry):
            share = seconds * len(group) / max(1, len(calls))
            timings |= in_turns({name: calls[name] for name in calls if name in group}, share)
        after = meter.measure(0.1, touched)
        if min(before.flops, after.flops) > _STEADY * max(before.flops, after.flops):
            break
    return before, timings


def _measure_peer(
    case: Case, seconds: float, peer: PeerProcess, calls: dict[str, CompiledCall]
) -> Entry:
    if peer.missing:
        return Entry(note=f"missing: {peer.missing}")
    ours = {name: calls[name] for name in ("planned",) if name in calls}
    beside = {name: t.median for name, t in in_turns(ours, seconds / 2).items()}
    answer = peer.measure(case, seconds / 2)
    if "timing" not in answer:
        return Entry(note=answer.get("failed") or answer.get("missing", ""))
    return Entry(timing=Timing(**answer["timing"]), beside=beside)


def _exceeds_memory(call: CompiledCall) -> bool:
    """Whether a call would leave the machine without memory, and perhaps without this process."""
    on_cpu = jax.default_backend() == "cpu"
    return on_cpu and 0.7 * machine.free_memory() < (call.temporary_bytes or 0)


@contextlib.contextmanager
def _peers(options: Options) -> Iterator[list[PeerProcess]]:
    with contextlib.ExitStack() as stack:
        peers = [PeerProcess(name, options.peers_python) for name in options.peers]
        if options.against:
            tree = stack.enter_context(checked_out(options.against))
            peers.append(PeerProcess(EARLIER, tree=tree))
        for peer in peers:
            stack.callback(peer.close)
        yield peers


def _expected_seconds(case: Case) -> float:
    """Guesses how long a case takes, in a unit that is about seconds."""
    return _COMPILING + 15 * case.dense_flops / _FLOPS
