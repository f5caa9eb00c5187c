"""What a compiled program's HLO text says: operations, bytes, estimated cycles, collectives.

Only instructions that run one after the other are summed: those of the entry computation and of
what it calls. A fusion counts once for all that is in it.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")
# What only waits for, or leads to, something counted elsewhere.
_NO_WORK = ("while", "call", "conditional", "async-start", "async-update", "async-done")

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(([^)]*)\)(.*)")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LIBRARY = re.compile(r'custom_call_target="__(cudnn|cublas)')
_LAYOUT = re.compile(r"\{([\d,]+)[:}]")
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+(\d+)\w*)\[([\d,]*)\]")


@dataclass
class Program:
    """Sums over one run of a program on one device.

    Attributes:
        cycles: the compiler's estimate of the instructions that have one.
        unpriced: instructions without an estimate, by opcode: collectives, copies beside the
            computation, custom calls. What takes no time (a tuple, a bitcast) is not among them.
        operations: how often each kind of operation runs, by opcode, calls of a library by its
            name (`cudnn`, `cublas`); on a GPU each is a launch at least.
        touched_bytes: operands and results of all of them, each whole: those of which only a slice
            is read or written, too.
        transposes: operations that change the order of an array in memory (transpositions, copies
            to another layout, fusions that are named for one).
        transposed_bytes: their share of `touched_bytes`.
        collectives: how often each kind of collective runs.
        collective_bytes: bytes that one device puts into them.
        exchanged: kind of collective -> bytes of the whole array that it is about: what is put in,
            of an all-gather what comes out.
        in_loops: collectives that run inside a loop.
        unknown_loops: loops whose turns the text does not tell, counted as one turn.
    """

    cycles: int = 0
    unpriced: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    touched_bytes: int = 0
    transposes: int = 0
    transposed_bytes: int = 0
    collectives: Counter[str] = field(default_factory=Counter)
    collective_bytes: int = 0
    exchanged: Counter[str] = field(default_factory=Counter)
    in_loops: int = 0
    unknown_loops: int = 0


@dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    opcode: str
    operands: str
    rest: str


def read(text: str) -> Program:
    """Reads the text of a compiled module (`jax.stages.Compiled.as_text`).

    Raises:
        ValueError: it has no entry computation.
    """
    computations: dict[str, list[_Instruction]] = {}
    shapes: dict[str, str] = {}
    entry, current = "", []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif found := _INSTRUCTION.match(line):
            current.append(at := _Instruction(*found.groups()))
            shapes[at.name] = at.shape
    if not entry:
        raise ValueError("the text of the compiled program has no ENTRY computation")

    program = Program()

    def walk(computation: str, times: int, priced: bool, looped: bool) -> None:
        continues = _continues(computation, computations.get(computation, ()))
        for at in computations.get(computation, ()):
            kind = at.opcode.removesuffix("-start")
            operands = [shapes.get(n, "") for n in re.findall(r"%([\w.\-]+)", at.operands)]
            if kind in COLLECTIVES and not continues:
                put_in = sum(map(byte_size, operands))
                program.collectives[kind] += times
                program.in_loops += times * looped
                program.collective_bytes += times * put_in
                gathered = byte_size(at.shape) - (put_in if kind != at.opcode else 0)
                program.exchanged[kind] += times * (gathered if kind == "all-gather" else put_in)
            works = at.opcode not in (*_FREE, *_NO_WORK) and not at.opcode.endswith("-done")
            if priced and works:
                library = _LIBRARY.search(at.rest)
                program.operations[library[1] if library else kind] += times
                read = sum(map(byte_size, operands))
                # What only starts returns its operands beside its result.
                wrote = read if kind != at.opcode else byte_size(at.shape)
                program.touched_bytes += times * (read + wrote)
                if _transposes(at, operands):
                    program.transposes += times
                    program.transposed_bytes += times * (read + wrote)
            if priced:
                if cycles := _CYCLES.search(at.rest):
                    program.cycles += times * int(cycles[1])
                elif works:
                    program.unpriced[at.opcode] += times
            turns = 1
            if at.opcode == "while":
                known = _TURNS.search(at.rest)
                turns = int(known[1]) if known else 1
                program.unknown_loops += known is None
            called = _CALLED.findall(at.rest)
            if branches := _BRANCHES.search(at.rest):
                called += [name.strip().lstrip("%") for name in branches[1].split(",")]
            inside = priced and at.opcode in _NO_WORK
            for name in called:
                walk(name, times * turns, inside, looped or at.opcode == "while")

    walk(entry, 1, True, False)
    return program


def _continues(name: str, instructions: Sequence[_Instruction]) -> bool:
    """Whether a computation goes on with, or ends, a collective that another one has started.

    libtpu lets an all-gather run beside fusions, and writes it into each of them again.
    """
    rest = "".join(at.rest for at in instructions if at.opcode == "custom-call")
    started = '"AsyncCollectiveStart"' in rest
    return '"AsyncCollectiveDone"' in rest or (
        name.startswith("async_collective_fusion") and not started
    )


def _transposes(at: _Instruction, operands: list[str]) -> bool:
    if at.opcode == "copy":
        return _LAYOUT.findall(at.shape)[:1] != _LAYOUT.findall(operands[0])[:1]
    return at.opcode == "transpose" or (at.opcode == "fusion" and "transpose" in at.name)


def byte_size(shape: str) -> int:
    """Bytes of an array or tuple as HLO writes its shape, without padding."""
    total = 0
    for kind, bits, dimensions in _ARRAY.findall(shape):
        width = {"pred": 8, "bf16": 16}.get(kind) or int(bits)
        total += math.prod(int(n) for n in dimensions.split(",") if n) * width
    return -(-total // 8)
