"""Evidence: every method of a claim searched alike, then trained with ten seeds.

- `methods`: the methods of every task, and the space in which each is searched; no sweep.
- `search`: as many random settings for each method, judged on validation images.
- `claims`: the best setting of each method, ten seeds, judged on test images.
"""
