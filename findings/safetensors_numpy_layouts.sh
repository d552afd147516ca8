#!/usr/bin/env bash
# safetensors: NumPy arrays that do not lie row by row in memory come back with other numbers.
#
# Guess: `safetensors.numpy.save_file` either copies an array that is transposed or in Fortran's order,
#   as `numpy.save` does, or refuses it with an error, as the same package does for PyTorch's tensors.
#   Its docstring asks for dense and contiguous tensors, and says nothing of what happens to others.
# Seen (safetensors 0.8.0, numpy 2.4.6): it writes the array's shape, and its numbers in the order in
#   which they lie in memory. Nothing is raised; loading gives an array of the right shape and type with
#   its numbers in other places: a transposed kernel is scrambled.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("python", sys.version.split()[0], "safetensors", safetensors.__version__, "numpy", np.__version__)
rows = np.arange(6.0).reshape(2, 3)
arrays = {
    "row by row": rows,
    "a copy of the transpose": rows.T.copy(),
    "transposed": rows.T,
    "in Fortran's order": np.asfortranarray(rows),
}
same = {}
for name, array in arrays.items():
    save_file({"x": array}, "x.safetensors")
    loaded = load_file("x.safetensors")["x"]
    same[name] = bool(np.array_equal(loaded, array))
    print(f"{name}: {array.tolist()} comes back as {loaded.tolist()}")
    if loaded.shape != array.shape or loaded.dtype != array.dtype:
        sys.exit("it has changed: shape or type differ")
wanted = dict.fromkeys(arrays, False) | {"row by row": True, "a copy of the transpose": True}
sys.exit(0 if same == wanted else f"it has changed: the same numbers come back for {same}")
PYTHON
