"""Reading PTX: parameters, loads and the assembler's report."""

import pytest

from istvt.errors import RuntimeEnvironmentError
from istvt.kernels.ptx import (
    Loads,
    assemble,
    count_loads,
    count_parameters,
    drop_parameters,
)

HEAD = """.version 8.0
.target sm_80
.address_size 64
.visible .entry add(
\t.param .u64 .ptr .global .align 1 add_param_0,
\t.param .u32 add_param_1,
\t.param .u64 .ptr .global .align 1 add_param_2
)
.reqntid 32
{
"""
BODY = """\t.reg .b32 %r<4>;
\t.reg .b64 %rd<3>;
\tld.param.b64 %rd1, [add_param_0];
\tld.param.b32 %r1, [add_param_1];
\tld.global.b32 %r2, [%rd1];
\tadd.s32 %r3, %r1, %r2;
\tst.global.b32 [%rd1], %r3;
\tret;
}
"""


def test_last_parameter_goes() -> None:
    shorter = drop_parameters(HEAD + BODY, 1)
    assert count_parameters(shorter) == 2
    assert "add_param_2" not in shorter
    assert shorter.endswith(BODY)
    assert "add_param_1\n)\n.reqntid" in shorter


def test_a_parameter_in_use_stays() -> None:
    with pytest.raises(RuntimeEnvironmentError, match=r"uses its parameter .*add_param_1"):
        drop_parameters(HEAD + BODY, 2)


def test_more_parameters_than_there_are() -> None:
    with pytest.raises(RuntimeEnvironmentError, match="has 3 parameters: expected 4"):
        drop_parameters(HEAD + BODY, 4)
    with pytest.raises(RuntimeEnvironmentError, match="has 0 parameters"):
        drop_parameters("", 1)


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];", Loads(1, 0)),
        ("@%p1 ld.global.L1::evict_last.v2.b64 { %rd2, %rd3 }, [ %rd1 ];", Loads(1, 0)),
        ("ld.global.v2.b32 { %r1, %r2 }, [ %rd1 + 0 ];", Loads(0, 1)),
        ("ld.global.b16 { %rs1 }, [ %rd1 + 0 ];", Loads(0, 1)),
        ("cp.async.cg.shared.global [ %r1 + 0 ], [ %rd2 + 0 ], 0x10, %r3;", Loads(1, 0)),
        ("cp.async.ca.shared.global [ %r1 + 0 ], [ %rd2 + 0 ], 8;", Loads(0, 1)),
        ("ld.shared.v4.b32 { %r1, %r2, %r3, %r4 }, [ %r5 ];", Loads(0, 0)),
        ("st.global.v4.b32 [ %rd1 + 0 ], { %r1, %r2, %r3, %r4 };", Loads(0, 0)),
    ],
)
def test_loads_are_counted_by_width(instruction: str, expected: Loads) -> None:
    assert count_loads(f"\t{instruction}\n") == expected


def test_the_assembler_reports_and_refuses() -> None:
    compiler = pytest.importorskip("triton.backends.nvidia.compiler", reason="no Triton")
    ptxas = compiler.get_ptxas(80).path
    report = assemble(drop_parameters(HEAD + BODY, 1), ptxas=ptxas)
    assert 0 < report.num_registers < 32
    assert (report.spill_bytes, report.stack_bytes) == (0, 0)
    with pytest.raises(RuntimeEnvironmentError, match="refused the PTX for sm_80"):
        assemble(HEAD + BODY.replace("add.s32", "add.nothing"), ptxas=ptxas)
    with pytest.raises(RuntimeEnvironmentError, match="no target"):
        assemble("", ptxas=ptxas)
