"""The terms of the data sets, which whoever passes a trained model on may have to tell."""

from __future__ import annotations

_MNIST = (
    "MNIST is under CC BY-SA 3.0; its copyright is held by Yann LeCun and Corinna Cortes "
    "(<http://www.pymvpa.org/datadb/mnist.html>)."
)
_SVHN = (
    "Street View House Numbers are for non-commercial use only "
    "(<http://ufldl.stanford.edu/housenumbers/>)."
)
_CASIA_HWDB = (
    "CASIA-HWDB is for research only (<http://www.nlpr.ia.ac.cn/databases/handwriting/Home.html>)."
)

# MNIST's as the linked page quotes it, the other ones as the modules of the sets tell it; the links
# lead to those who give them away. Sets prepared elsewhere have the terms of their images.
_TERMS = {
    "mnist": _MNIST,
    "mnist_5k": f"5,000 digits of MNIST. {_MNIST}",
    "svhn_cropped": _SVHN,
    "svhn_grey": f"A subset of Street View House Numbers. {_SVHN}",
    "svhn_synthetic": "Drawn from fonts: no terms of others.",
    "casia_hwdb": _CASIA_HWDB,
    "hwdb195": f"A subset of CASIA-HWDB. {_CASIA_HWDB}",
    "kanji_strokes": (
        "Drawn from the strokes of KanjiVG, which are under CC BY-SA 3.0 "
        "(<https://kanjivg.tagaini.net>), and so are the images."
    ),
}


def terms_of_use(name: str) -> str:
    """Returns under which terms a data set may be used, in a sentence or two.

    Args:
      name: the name that it is loaded by, perhaps with a variant.
    """
    unknown = "Its terms are not known here: ask whoever prepared it."
    return _TERMS.get(name.partition("/")[0], unknown)
