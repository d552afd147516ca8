"""The numbers of a benchmark, and the files that hold them while it goes on."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from experiments.benchmarking.cases import Case
from experiments.benchmarking.contenders import STRATEGIES, floor_seconds
from experiments.benchmarking.timing import Timing
from experiments.system import json_files, write_file


@dataclasses.dataclass(frozen=True)
class Entry:
    """One contender's or peer's numbers in a case.

    Attributes:
      timing: its times; None if there are none.
      note: why there are none; or its plan.
      compile_seconds: how long compilation took.
      temporary_bytes: memory of the compiled program besides arguments and results.
      flops: the FLOPs of one call.
      beside: for peers, the seconds of the planned product, measured right before it.
    """

    timing: Timing | None = None
    note: str = ""
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    flops: float | None = None
    beside: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """A case's numbers.

    Attributes:
      case: what was done.
      entries: the entries by contender or peer.
      peak_flops: FLOPs per second of the machine, measured right before.
      bandwidth: its bytes per second in a copy of as many as the case needs, likewise.
      other_load: fraction of the cores' time that other processes took meanwhile; None if unknown.
    """

    case: Case
    entries: dict[str, Entry]
    peak_flops: float
    bandwidth: float
    other_load: float | None = None

    def seconds(self, name: str) -> float | None:
        """Returns the median time of a contender or peer; None if it has none."""
        entry = self.entries.get(name)
        return entry.timing.median if entry and entry.timing else None

    def ratio(self, name: str, to: str) -> float | None:
        """Returns one's time over another's; a peer's by way of the planned one beside it."""
        entry, base = self.entries.get(name), self.seconds(to)
        if entry is None or entry.timing is None or not base:
            return None
        beside, planned = entry.beside.get("planned"), self.seconds("planned")
        drift = planned / beside if beside and planned else 1.0
        return drift * entry.timing.median / base

    @property
    def best_strategy(self) -> str | None:
        """The fastest forced strategy."""
        times = {name: self.seconds(name) for name in STRATEGIES}
        known = {name: seconds for name, seconds in times.items() if seconds}
        return min(known, key=known.__getitem__) if known else None

    @property
    def floor(self) -> float:
        """Seconds below which no strategy gets."""
        return floor_seconds(self.case, self.peak_flops, self.bandwidth)


CONVOLUTION = "convolution"


@dataclasses.dataclass(frozen=True)
class NetworkResult:
    """Whole training steps of a network, with its large layer dense and as a Kronecker sum.

    Attributes:
      name: the network's name.
      structure: the layer's structure.
      batch: examples of a step.
      entries: the entries by kind of the layer, and of each convolution alone, by CONVOLUTION and
        its number.
    """

    name: str
    structure: str
    batch: int
    entries: dict[str, Entry]


@dataclasses.dataclass
class Results:
    """All numbers of a benchmark.

    Attributes:
      command: the command that makes them.
      versions: the versions of packages, and the git revision.
      machine: what it runs on.
      peers: versions of the peers, or why they are missing.
      sessions: one for every start of the command: peaks of the machine, at its start and end.
      cases: the cases' numbers by key.
      networks: the networks' numbers by name.
    """

    command: str
    versions: dict[str, Any]
    machine: dict[str, Any]
    peers: dict[str, str] = dataclasses.field(default_factory=dict)
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    cases: dict[str, CaseResult] = dataclasses.field(default_factory=dict)
    networks: dict[str, NetworkResult] = dataclasses.field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes `results.json` and `results.csv`, each all of it or nothing."""
        json_files.write(folder / "results.json", dataclasses.asdict(self))
        write_file(folder / "results.csv", as_csv(self))


def open_results(folder: Path, fresh: Results) -> Results:
    """Returns the results in a folder with what `fresh` says of itself, or `fresh` if none.

    Raises:
      ValueError: if those in the folder are from another command, machine or version of the code.
      OSError: if they cannot be read.
    """
    path = folder / "results.json"
    if not path.exists():
        return fresh
    remedy = "Take another --out, or delete it to start anew."
    try:
        found = _from_json(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no results of a benchmark ({error!r}). {remedy}") from error
    for what in ("command", "versions", "machine"):
        before, now = getattr(found, what), getattr(fresh, what)
        if before != now:
            raise ValueError(
                f"{path} is from another {what.rstrip('s')}: {before}, now {now}. {remedy}"
            )
    found.peers = fresh.peers or found.peers
    return found


COLUMNS = (
    "inputs",
    "features",
    "structure",
    "rank",
    "batch",
    "pass",
    "contender",
    "median_seconds",
    "low_quartile_seconds",
    "high_quartile_seconds",
    "samples",
    "over_dense",
    "over_floor",
    "flops",
    "flops_per_second",
    "peak_flops_per_second",
    "bytes_per_second_peak",
    "compile_seconds",
    "temporary_bytes",
    "other_load",
    "note",
)


def as_csv(results: Results) -> str:
    """Returns one line per contender and case, and per kind of layer and network.

    `over_dense` is the dense product's time over the contender's, `over_floor` the contender's over
    the floor's.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in results.cases.values():
        case = result.case
        of_case = {
            "inputs": case.inputs,
            "features": case.features,
            "structure": str(case.structure),
            "rank": case.rank,
            "batch": case.batch,
            "pass": case.pass_,
            "peak_flops_per_second": result.peak_flops,
            "bytes_per_second_peak": result.bandwidth,
            "other_load": result.other_load,
        }
        for name, entry in result.entries.items():
            row = of_case | {"contender": name} | _numbers(entry)
            if entry.timing:
                slowdown = result.ratio(name, "dense")
                row["over_dense"] = 1 / slowdown if slowdown else None
                row["over_floor"] = entry.timing.median / result.floor
            writer.writerow(row)
    for network in results.networks.values():
        for kind, entry in network.entries.items():
            of_network = {
                "structure": network.structure,
                "batch": network.batch,
                "pass": f"{network.name} training step",
                "contender": kind,
            }
            writer.writerow(of_network | _numbers(entry))
    return text.getvalue()


def _numbers(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "compile_seconds": entry.compile_seconds,
        "temporary_bytes": entry.temporary_bytes,
        "flops": entry.flops,
        "note": entry.note,
    }
    if timing := entry.timing:
        row |= {
            "median_seconds": timing.median,
            "low_quartile_seconds": timing.low,
            "high_quartile_seconds": timing.high,
            "samples": timing.samples,
            "flops_per_second": entry.flops / timing.median if entry.flops else None,
        }
    return row


def _from_json(content: dict[str, Any]) -> Results:
    def entries(found: dict[str, Any]) -> dict[str, Entry]:
        return {
            name: Entry(**{**entry, "timing": entry["timing"] and Timing(**entry["timing"])})
            for name, entry in found.items()
        }

    cases = {
        key: CaseResult(**{**r, "case": Case(**r["case"]), "entries": entries(r["entries"])})
        for key, r in content["cases"].items()
    }
    networks = {
        name: NetworkResult(**{**r, "entries": entries(r["entries"])})
        for name, r in content["networks"].items()
    }
    return Results(**{**content, "cases": cases, "networks": networks})
