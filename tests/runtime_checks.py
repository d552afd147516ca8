"""The decorator that checks types and shapes while tests run."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Checks annotations; where a float is asked for, an integer will do, as Python's typing says."""
