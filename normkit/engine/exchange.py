"""How compiled code asks Python to exchange data with other processes in the middle of a step.

The address of a callback is handed down as a number, so that the machine code can be kept on disk. One thread of the
team calls it while the others wait at the barrier.
"""

import ctypes

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_Function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Exchange:
    """A Python function that compiled code calls with (stage, block) through `address`.

    What it raises is kept in `error`, for whoever started the compiled code.
    """

    def __init__(self, function):
        self.error: BaseException | None = None

        def call(stage, block):
            try:
                function(stage, block)
            except BaseException as error:
                self.error = error
                return 0
            return 1

        self._callback = _Function(call)  # kept alive as long as its address may be used
        self.address = ctypes.cast(self._callback, ctypes.c_void_p).value or 0


@intrinsic
def call_exchange(context, address, stage, block):
    """Call the function at an address; returns whether it succeeded."""
    signature = types.boolean(types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word, word]).as_pointer()
        answer = builder.call(builder.inttoptr(arguments[0], kind), arguments[1:])
        return builder.icmp_signed("!=", answer, ir.Constant(word, 0))

    return signature, codegen
