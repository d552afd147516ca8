"""The rooms of `experiments.benchmark`: what is timed, how, and what becomes of the numbers.

`timing`, `peer_process` and `peer_layers` run in a peer's process and import no JAX.
"""
