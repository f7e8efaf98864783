from collections import Counter

from benchmarks import gpu_machine_code

LOG = """ptxas info    : Compiling entry function 'first' for 'sm_90a'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem
ptxas info    : Compiling entry function 'second' for 'sm_90a'
    232 bytes stack frame, 304 bytes spill stores, 228 bytes spill loads
ptxas info    : Used 255 registers
"""

LISTING = """
        /*0000*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
.L_x_0:
        /*0010*/                   FFMA R1, R2, R3, R4 ;
        /*0020*/              @!P0 BRA `(.L_x_0) ;
        /*0030*/                   STG.E.128 desc[UR4][R2.64], R4 ;
        /*0040*/                   EXIT ;
.L_x_1:
        /*0050*/                   BRA `(.L_x_1);
"""


def test_usage_of_every_entry():
    assert dict(gpu_machine_code._usage(LOG)) == {"first": (40, 512, 0), "second": (255, 0, 304)}


def test_loop_is_told_from_the_rest():
    loop, outside = gpu_machine_code._loop_and_rest(LISTING)
    assert loop == Counter({"FFMA": 1, "BRA": 1})
    assert outside == Counter({"LDG.E.128": 1, "STG.E.128": 1, "EXIT": 1, "BRA": 1})


def test_wide_stores():
    kernel = gpu_machine_code.Kernel("k", 1, 0, 0, Counter(), Counter({"STG.E.128": 2}))
    assert kernel.wide_stores()
    assert not kernel._replace(loop=Counter({"STG.E": 1})).wide_stores()
