"""The list of kept runs: `README.md` in their folder, written from `index.toml` beside it.

Every folder of runs has a table there:

    [mnist]
    question = "MNIST: which structure gives which error?"
    sweeps = ["mnist_results.py"]       # in configs/sweeps/, with the variant
    command = "python -m ..."           # instead, where it was no sweep
    since = "the learning rate is ..."  # how the sweeps' trials differ today, where they do
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from experiments.system import write_file

_HEAD = """\
# Kept runs

The numbers in the documents are of runs that are kept here. `runs.jsonl` of a folder has a line for
each run: what it changed in its base config, its whole config, its learning curve and its result.
`python -m experiments.report results/FOLDER` makes the whole report on such a folder anew, and
`python -m experiments.report --fill=DOCUMENT` the marked tables inside a document. (The benchmarks
and `mnist_quick` are kept as tables.)

Where the column "command" names files of `configs/sweeps/`, the command is, for each,

```bash
python -m experiments.sweep --config=configs/sweeps/FILE --workdir=runs/NAME
```

and some or all of its trials are kept. The documents say which comes first, and with which filters.
(This page is written by `python -m experiments.report --index=results`, from
`index.toml`.)

| folder | question | command | document |
| --- | --- | --- | --- |
"""
_FIELDS = {"question", "sweeps", "command", "since"}


def write_index(folder: str | os.PathLike[str]) -> int:
    """Writes `README.md` of a folder of kept runs anew; returns how many folders it lists.

    Raises:
      ValueError: as `index_page`. Nothing is written then.
      OSError: if a file cannot be read or written.
    """
    folder = Path(folder).expanduser()
    text = index_page(folder)
    write_file(folder / "README.md", text)
    return text.removeprefix(_HEAD).count("\n")


def index_page(folder: str | os.PathLike[str]) -> str:
    """Returns what `README.md` of a folder of kept runs should be, a line for each folder in it.

    The documents of a folder of runs are the Markdown files in `docs/`, beside the whole, that name
    it.

    Raises:
      ValueError: if `index.toml` does not list exactly the folders that are there, or what it says
        of one is incomplete.
      OSError: if a file cannot be read.
    """
    folder = Path(folder).expanduser().resolve()
    path = folder / "index.toml"
    entries = tomllib.loads(path.read_text())
    there = {inner.name for inner in folder.iterdir() if inner.is_dir()}
    if wrong := sorted(there ^ entries.keys()):
        raise ValueError(
            f"{path} and the folders beside it differ in {', '.join(wrong)}; list every folder "
            "there once."
        )
    documents = sorted((folder.parent / "docs").rglob("*.md"))
    texts = {document: document.read_text() for document in documents}
    lines = []
    for name, entry in entries.items():
        if not entry.keys() <= _FIELDS or "question" not in entry:
            raise ValueError(f"{path}: [{name}] has a question, sweeps or a command, and since.")
        if ("sweeps" in entry) == ("command" in entry):
            raise ValueError(f"{path}: [{name}] needs either sweeps or a command.")
        mention = re.compile(rf"{re.escape(folder.name)}/{re.escape(name)}(?!\w)")
        found = [
            f"[{document.name}]({os.path.relpath(document, folder)})"
            for document, text in texts.items()
            if mention.search(text)
        ]
        command = ", ".join(f"`{sweep}`" for sweep in entry.get("sweeps", [entry.get("command")]))
        since = f" ({entry['since']})" if "since" in entry else ""
        cells = (f"[{name}]({name}/)", entry["question"], command + since, ", ".join(found))
        lines.append(f"| {' | '.join(cells)} |\n")
    return _HEAD + "".join(lines)
