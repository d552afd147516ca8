r"""Small models from every start, from scratch or from a trained dense model: one question a file.

Every file is a sweep config, and its variant is the network: a name in `networks.py`, which says
what each network is and which layers every question tries in it.

    dense.py          What does the dense model reach? It comes first: most others start from it.
    from_scratch.py   What do small layers reach from scratch, trained for as long?
    fine_tuned.py     What do they reach from the dense model, by kernel, by data and reordered?
    taught.py         What do they reach from there with the dense model as a teacher?
    shapes.py         Which structure of one size is best, taught like that?
    both_layers.py    What if the classifier is small, alone or together with `fc1`?
    controls.py       What do no `fc1`, a narrow, a frozen and a block-diagonal one reach?
    tuning.py         Which learning rate does the fine-tuning want? (On validation images.)
    tuning_taught.py  Which learning rate and gain does it want with a teacher? (Likewise.)

For example:

    python -m experiments.sweep --config=configs/sweeps/comparison/dense.py:svhn \
        --workdir=runs/svhn-dense
    python -m experiments.sweep --config=configs/sweeps/comparison/taught.py:svhn \
        --workdir=runs/svhn-taught

The dense models of a network, one for each seed, are looked for in `runs/NETWORK-dense`. All but
the two tuning files train on all training images with 3 seeds, and read the test split before and
after the training.
"""
