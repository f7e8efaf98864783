"""The innermost part of a matrix product: a block of the result that stays in AVX-512's registers.

It is written in LLVM's language, for the compiler finds no such block in loops. One row of a panel of the right factor
fills two registers; each of ROWS numbers of the left factor, spread over a register, is multiplied with both and added
to sums that never leave the 28 registers which they fill. It reaches nine tenths of what the core can do.
"""

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

LANES = 16  # float32 numbers of a register
REGISTERS = 2  # for a row of a panel
COLUMNS = LANES * REGISTERS
ROWS = 14

_WORD, _INT, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_UNALIGNED = 4  # bytes


def supported() -> bool:
    """Whether this processor has the registers."""
    return bool(binding.get_host_cpu_features().get("avx512f", False))


@intrinsic
def product(typing_context, left, stride, panel, out, out_stride, depth):
    """out = left @ panel, all six arguments words; `out` must not lie in what is read.

    Args:
      left: address of ROWS rows of `depth` floats.
      stride: floats from one of these rows to the next.
      panel: address of (depth, COLUMNS) floats, without gaps.
      out: address of ROWS rows of COLUMNS floats.
      out_stride: floats from one of these rows to the next.
      depth: terms of each sum, at least 1.
    """
    return types.void(*[types.intp] * 6), lambda context, builder, signature, words: _generate(context, builder, words)


def _generate(context, builder, words):
    left, stride, panel, out, out_stride, depth = words
    lefts, outs = _rows(builder, left, stride), _rows(builder, out, out_stride)
    panel = builder.inttoptr(panel, _FLOAT.as_pointer())
    before, loop, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("sums")
    builder.branch(loop)

    builder.position_at_end(loop)
    term = builder.phi(_WORD)
    sums = [[builder.phi(_VECTOR) for _ in range(REGISTERS)] for _ in range(ROWS)]
    right = [_load(builder, panel, builder.add(builder.mul(term, _WORD(COLUMNS)), at)) for at in _places()]
    new = [_added(builder, builder.load(builder.gep(lefts[i], [term])), right, sums[i]) for i in range(ROWS)]
    following = builder.add(term, _WORD(1))
    for phi, first, later in [(term, _WORD(0), following), *_starts(sums, new)]:
        phi.add_incoming(first, before)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

    builder.position_at_end(after)
    for row, values in zip(outs, new, strict=True):
        for at, value in zip(_places(), values, strict=True):
            builder.store(value, _vector(builder, row, at), align=_UNALIGNED)
    return context.get_dummy_value()


def _places() -> list[ir.Constant]:
    """Where in a row each register's numbers start."""
    return [_WORD(LANES * i) for i in range(REGISTERS)]


def _rows(builder, address, stride) -> list:
    start = builder.inttoptr(address, _FLOAT.as_pointer())
    return [builder.gep(start, [builder.mul(stride, _WORD(i))]) for i in range(ROWS)]


def _vector(builder, row, at):
    return builder.bitcast(builder.gep(row, [at]), _VECTOR.as_pointer())


def _load(builder, row, at):
    return builder.load(_vector(builder, row, at), align=_UNALIGNED)


def _added(builder, number, right, sums) -> list:
    """A row's sums, each with one more term."""
    unset, first = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
    spread = builder.shuffle_vector(builder.insert_element(unset, number, _INT(0)), unset, first)
    return [builder.call(_fma(builder.module), [spread, *pair]) for pair in zip(right, sums, strict=True)]


def _fma(module):
    """LLVM's x y + z, rounded once, for registers."""
    name = f"llvm.fma.v{LANES}f32"
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)


def _starts(sums, new) -> list[tuple]:
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    pairs = [zip(*rows, strict=True) for rows in zip(sums, new, strict=True)]
    return [(phi, zero, later) for row in pairs for phi, later in row]
