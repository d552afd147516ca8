"""What a compressed model may cost, or how far it may be from the dense one."""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from fractions import Fraction

PARAMETERS, FLOPS, ERROR = "parameters", "flops", "error"

_FORMS = (
    "a fraction (0.08), a number of parameters (34000), 'flops:0.5', 'flops:500000' or 'error:0.1'"
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """A limit for a whole model. Make one with `parameters`, `flops`, `error` or `parse`.

    Its text form is what commands and files use; ``parse`` and ``str`` are inverse to each other::

      >>> str(Budget.parameters(0.08)), str(Budget.flops(500_000)), str(Budget.error(0.1))
      ('0.08', 'flops:500000', 'error:0.1')

    Attributes:
      kind: ``parameters``, ``flops`` or ``error``.
      value: a fraction of the dense model's (a float up to 1) or a number (an integer); for
        ``error`` the bound.

    Raises:
      ValueError: if the kind is unknown or the value out of range.
    """

    kind: str
    value: int | float

    def __post_init__(self) -> None:
        if self.kind not in (PARAMETERS, FLOPS, ERROR):
            raise ValueError(f"A budget of {self.kind!r} is unknown; write {_FORMS}.")
        object.__setattr__(self, "value", self._checked())

    @classmethod
    def parameters(cls, value: int | float) -> Budget:
        """Returns a limit of the model's parameters, biases and all other layers included."""
        return cls(PARAMETERS, value)

    @classmethod
    def flops(cls, value: int | float) -> Budget:
        """Returns a limit of the dense layers' FLOPs for one example, each layer applied once."""
        return cls(FLOPS, value)

    @classmethod
    def error(cls, value: float) -> Budget:
        """Returns a bound of the total relative error, the root of the sum of layers' squares."""
        return cls(ERROR, value)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads the text form: ``0.08``, ``34000``, ``flops:0.5``, ``flops:500000``, ``error:0.1``.

        Raises:
          ValueError: if the text is not of that form, or the value is out of range.
        """
        kind, _, number = text.strip().rpartition(":")
        try:
            value = float(number) if set(number) & set(".eE") else int(number)
        except ValueError:
            raise ValueError(f"Cannot read the budget {text!r}; write {_FORMS}.") from None
        return cls(kind or PARAMETERS, value)

    def limit(self, dense: int) -> int:
        """Returns the limit as a number, for a dense model of ``dense`` parameters or FLOPs."""
        if isinstance(self.value, int):
            return self.value
        return math.floor(Fraction(repr(self.value)) * dense)

    def _checked(self) -> int | float:
        value, is_error = self.value, self.kind == ERROR
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            if isinstance(value, numbers.Integral) and not is_error:
                if (whole := operator.index(value)) >= 1:
                    return whole
            elif 0 < value < (math.inf if is_error else math.nextafter(1, 2)):
                return float(value)
        requirement = (
            "a positive number"
            if is_error
            else "a fraction (a float above 0 and up to 1), or a number (an integer of at least 1)"
        )
        raise ValueError(f"A budget of {self.kind} is {value!r}; it must be {requirement}.")

    def __str__(self) -> str:
        prefix = "" if self.kind == PARAMETERS else f"{self.kind}:"
        return f"{prefix}{self.value!r}"
