"""The tables in the documents are those of the runs that are kept beside them."""

import pathlib

import pytest

from experiments.reporting import filled

DOCUMENTS = [
    path
    for path in (pathlib.Path(__file__).parent.parent / "docs").glob("*.md")
    if "<!-- table " in path.read_text()
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_what_the_kept_runs_give(document):
    assert filled(document) == document.read_text()


def test_some_documents_have_such_tables():
    assert DOCUMENTS
