"""A function in LLVM's IR, written as text, with loops, pointers and vectors of numbers.

`Code` knows what kernels need and nothing else: integers, counted loops, the address of number `i`
behind a pointer, and vector loads and stores whose tail is masked, so that nothing is read or
written beyond the end of an array. A value is its name in the text, or a number that is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, MutableMapping

from kfc_jax.product.native.host import Host

Value = str
Index = int | Value

BYTES = {"bfloat16": 2, "float32": 4, "float64": 8}
_NUMBERS = {"float32": "float", "float64": "double"}


class Code:
    """The body of a function while it is written.

    Attributes:
      host: the CPU.
      number: type of the numbers that are computed with, as IR.
      number_bytes: its size.
      lanes: numbers in a vector.
      vector: type of a vector, as IR.
    """

    def __init__(self, host: Host, compute: str, signature: str) -> None:
        """Starts a function, `void @name(ptr %shared)`, that computes in `float32` or `float64`."""
        self.host, self.number, self.number_bytes = host, _NUMBERS[compute], BYTES[compute]
        self.lanes = host.vector_bytes // self.number_bytes
        self.vector = f"<{self.lanes} x {self.number}>"
        self._signature = signature
        self._entry: list[str] = []  # room on the stack
        self._lines: list[str] = []
        self._count, self._block = 0, "entry"

    def text(self) -> str:
        """Returns the whole function."""
        body = "\n".join(["entry:", *self._entry, *self._lines])
        return f"define {self._signature} {{\n{body}\n}}\n"

    # Instructions and control

    def let(self, instruction: str) -> Value:
        """Writes an instruction; returns the name of its result."""
        name = self._name("v")
        self._lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """Writes an instruction without a result."""
        self._lines.append(f"  {instruction}")

    @contextlib.contextmanager
    def loop(
        self, count: Index, start: Index = 0, carried: MutableMapping | None = None
    ) -> Generator[Index]:
        """Repeats what is written inside for `start`, ..., `count - 1`; yields the counter.

        A single turn that is known is no loop. A count that is not known may be zero, unless
        vectors are carried.

        Args:
          count: the end of the counter.
          start: its first value.
          carried: vectors by any key that go from turn to turn: what they are replaced by inside is
            what the next turn finds, and what is there after the loop.
        """
        if isinstance(count, int) and isinstance(start, int) and count - start <= 1:
            if count <= start:
                raise ValueError(f"a loop from {start} to {count} has no turn")
            yield start
            return
        before, head, latch, after = self._block, *map(self._label, ("head", "latch", "after"))
        if carried is None and not (isinstance(count, int) and isinstance(start, int)):
            enter = self._label("enter")
            some = self.let(f"icmp slt i64 {start}, {count}")
            self.do(f"br i1 {some}, label %{enter}, label %{after}")
            self.begin(enter)
            before = enter
        self.do(f"br label %{head}")
        self.begin(head)
        counter, following = self._name("i"), self._name("i")
        self.do(f"{counter} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]")
        first = dict(carried or {})
        turns = {key: self._name("c") for key in first}
        place = len(self._lines)  # the phis' last values are known at the end only
        if carried is not None:
            carried.update(turns)
        yield counter
        last = dict(carried or {})
        phis = [
            f"  {turns[key]} = phi {self.vector} [ {value}, %{before} ], [ {last[key]}, %{latch} ]"
            for key, value in first.items()
        ]
        self._lines[place:place] = phis
        self.do(f"br label %{latch}")
        self.begin(latch)
        self.do(f"{following} = add nuw nsw i64 {counter}, 1")
        more = self.let(f"icmp slt i64 {following}, {count}")
        self.do(f"br i1 {more}, label %{head}, label %{after}")
        self.begin(after)

    @contextlib.contextmanager
    def when(self, condition: Value) -> Generator[None]:
        """Does what is written inside if a condition holds."""
        then, after = self._label("then"), self._label("else")
        self.do(f"br i1 {condition}, label %{then}, label %{after}")
        self.begin(then)
        yield
        if not self._lines[-1].startswith("  ret "):
            self.do(f"br label %{after}")
        self.begin(after)

    def begin(self, label: str) -> None:
        """Begins a block."""
        self._lines.append(f"{label}:")
        self._block = label

    # Integers

    def add(self, a: Index, b: Index) -> Index:
        """Returns `a + b`, at once where both are known."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.let(f"add nsw i64 {a}, {b}")

    def mul(self, a: Index, b: Index) -> Index:
        """Returns `a * b`, at once where both are known."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 1 or b == 1:
            return b if a == 1 else a
        return self.let(f"mul nsw i64 {a}, {b}")

    def min(self, a: Index, b: Index) -> Value:
        """Returns the smaller of two signed integers."""
        is_less = self.let(f"icmp slt i64 {a}, {b}")
        return self.let(f"select i1 {is_less}, i64 {a}, i64 {b}")

    def max(self, a: Index, b: Index) -> Value:
        """Returns the larger of two signed integers."""
        is_less = self.let(f"icmp slt i64 {a}, {b}")
        return self.let(f"select i1 {is_less}, i64 {b}, i64 {a}")

    def ceil_div(self, a: Index, b: Index) -> Value:
        """Returns the quotient of two positive integers, rounded up."""
        return self.let(f"udiv i64 {self.add(self.add(a, b), -1)}, {b}")

    # Memory

    def at(self, pointer: Value, position: Index) -> Value:
        """Returns the address of number `position` behind a pointer."""
        if position == 0:
            return pointer
        return self.let(f"getelementptr inbounds {self.number}, ptr {pointer}, i64 {position}")

    def bytes_at(self, pointer: Value, offset: Index) -> Value:
        """Returns the address of byte `offset` behind a pointer."""
        if offset == 0:
            return pointer
        return self.let(f"getelementptr inbounds i8, ptr {pointer}, i64 {offset}")

    def field(self, pointer: Value, offset: int, type_: str) -> Value:
        """Returns the value of a type that lies `offset` bytes behind a pointer."""
        return self.let(f"load {type_}, ptr {self.bytes_at(pointer, offset)}")

    def set_field(self, pointer: Value, offset: int, type_: str, value: Index) -> None:
        """Writes a value of a type `offset` bytes behind a pointer."""
        self.do(f"store {type_} {value}, ptr {self.bytes_at(pointer, offset)}")

    def room(self, bytes_: int) -> Value:
        """Returns room on the stack, aligned to a vector, for the whole call."""
        name = self._name("room")
        self._entry.append(f"  {name} = alloca [{bytes_} x i8], align 64")
        return name

    def scratch(self, count: int) -> Value:
        """Returns room for `count` numbers on the stack."""
        return self.room(count * self.number_bytes)

    def zero(self, pointer: Value, count: Index) -> None:
        """Sets `count` numbers to zero."""
        size = self.mul(count, self.number_bytes)
        self.do(f"call void @llvm.memset.p0.i64(ptr {pointer}, i8 0, i64 {size}, i1 false)")

    def copy(self, target: Value, source: Value, bytes_: Index) -> None:
        """Copies bytes."""
        self.do(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {bytes_}, i1 false)"
        )

    # Vectors

    def load(self, pointer: Value, count: int) -> Value:
        """Loads the first `count` lanes of a vector; the others are zero, and are not read."""
        if count == self.lanes:
            return self.let(f"load {self.vector}, ptr {pointer}, align {self.number_bytes}")
        return self.let(
            f"call {self.vector} @llvm.masked.load.{self._vector_name}.p0(ptr {pointer}, i32 "
            f"{self.number_bytes}, {self._mask(count)}, {self.vector} zeroinitializer)"
        )

    def store(self, value: Value, pointer: Value, count: int) -> None:
        """Stores the first `count` lanes of a vector, and writes nothing else."""
        if count == self.lanes:
            self.do(f"store {self.vector} {value}, ptr {pointer}, align {self.number_bytes}")
            return
        self.do(
            f"call void @llvm.masked.store.{self._vector_name}.p0({self.vector} {value}, ptr "
            f"{pointer}, i32 {self.number_bytes}, {self._mask(count)})"
        )

    def repeat(self, pointer: Value) -> Value:
        """Loads one number into all lanes."""
        number = self.let(f"load {self.number}, ptr {pointer}, align {self.number_bytes}")
        one = self.let(f"insertelement {self.vector} poison, {self.number} {number}, i64 0")
        lanes = f"<{self.lanes} x i32> zeroinitializer"
        return self.let(f"shufflevector {self.vector} {one}, {self.vector} poison, {lanes}")

    def sum(self, a: Value, b: Value) -> Value:
        """Returns `a + b` of vectors."""
        return self.let(f"fadd {self.vector} {a}, {b}")

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """Returns `a * b + c` of vectors, rounded once."""
        operands = ", ".join(f"{self.vector} {value}" for value in (a, b, c))
        return self.let(f"call {self.vector} @llvm.fma.{self._vector_name}({operands})")

    def sum_of_lanes(self, vector: Value) -> Value:
        """Returns the sum of a vector's numbers, added in pairs."""
        add = f"@llvm.vector.reduce.fadd.{self._vector_name}"
        return self.let(
            f"call reassoc {self.number} {add}({self.number} 0.0, {self.vector} {vector})"
        )

    def declarations(self) -> list[str]:
        """Returns the declarations of the functions that code of these vectors calls."""
        name, vector, mask = self._vector_name, self.vector, f"<{self.lanes} x i1>"
        return [
            f"declare {vector} @llvm.fma.{name}({vector}, {vector}, {vector})",
            f"declare {self.number} @llvm.vector.reduce.fadd.{name}({self.number}, {vector})",
            f"declare {vector} @llvm.masked.load.{name}.p0(ptr, i32, {mask}, {vector})",
            f"declare void @llvm.masked.store.{name}.p0({vector}, ptr, i32, {mask})",
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
            "declare ptr @malloc(i64)",
            "declare void @free(ptr)",
            "declare void @llvm.aarch64.hint(i32)"
            if self.host.is_arm
            else "declare void @llvm.x86.sse2.pause()",
        ]

    @property
    def _vector_name(self) -> str:
        return f"v{self.lanes}f{8 * self.number_bytes}"

    def _mask(self, count: int) -> str:
        bits = ", ".join(f"i1 {int(lane < count)}" for lane in range(self.lanes))
        return f"<{self.lanes} x i1> <{bits}>"

    def _name(self, prefix: str) -> Value:
        self._count += 1
        return f"%{prefix}{self._count}"

    def _label(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"
