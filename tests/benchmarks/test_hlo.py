"""What is read from a compiled program's text, on lines as libtpu writes them, shortened."""

import pytest

from sacd_jax.benchmarks import hlo

STEP = """\
HloModule jit_step, is_scheduled=true, num_partitions=8

%fused_computation.1 (param_0.1: bf16[16,64]) -> f32[64] {
  %param_0.1 = bf16[16,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %reduce.3 = f32[64]{0:T(256)} reduce(%param_0.1, %zero), to_apply=%add, backend_config={"window_config":{"estimated_cycles":"7000"}}
}

%body.1 (wide: (s32[], bf16[16,64])) -> (s32[], bf16[16,64]) {
  %wide = (s32[]{:T(128)}, bf16[16,64]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %part = bf16[16,64]{1,0:T(8,128)(2,1)} get-tuple-element(%wide), index=1
  %fusion.2 = f32[64]{0:T(256)} fusion(%part), kind=kLoop, calls=%fused_computation.1, backend_config={"window_config":{"estimated_cycles":"10"}}
  %all-reduce.7 = f32[64]{0:T(256)} all-reduce(%fusion.2), channel_id=4, to_apply=%add
  ROOT %tuple.1 = (s32[]{:T(128)}, bf16[16,64]{1,0:T(8,128)(2,1)S(1)}) tuple(%count, %part)
}

%condition.1 (wide.1: (s32[], bf16[16,64])) -> pred[] {
  ROOT %less = pred[]{:T(512)} compare(%count.1, %limit), direction=LT
}

%async_computation (param_0.2: f32[64]) -> f32[8] {
  ROOT %reduce-scatter.1 = f32[8]{0:T(128)} reduce-scatter(%param_0.2), to_apply=%add
  %param_0.2 = f32[64]{0:T(256)} parameter(0)
}

ENTRY %main.7_spmd (x: bf16[16,64], y: pred[16]) -> (f32[64], f32[8]) {
  %x = bf16[16,64]{1,0:T(8,128)(2,1)} parameter(0), metadata={op_name="batch"}
  %y = pred[16]{0:T(512)(128)(4,1)} parameter(1)
  %copy-start.1 = (pred[16]{0:T(512)S(1)}, pred[16]{0:T(512)}, u32[]{:S(2)}) copy-start(%y)
  %copy-done.1 = pred[16]{0:T(512)S(1)} copy-done(%copy-start.1)
  %start = (s32[]{:T(128)}, bf16[16,64]{1,0:T(8,128)(2,1)}) tuple(%zero, %x)
  %while.1 = (s32[]{:T(128)}, /*index=1*/bf16[16,64]{1,0:T(8,128)(2,1)}) while(%start), condition=%condition.1, body=%body.1BACKEND
  %fusion.9 = f32[64]{0:T(256)} fusion(%x), kind=kOutput, calls=%fused_computation.1, backend_config={"window_config":{"estimated_cycles":"2381","iteration_bounds":["1"]}}
  %all-reduce.1 = (f32[64]{0:T(256)}, bf16[16,64]{1,0:T(8,128)(2,1)}) all-reduce(%fusion.9, %x), channel_id=2, to_apply=%add
  %scatter-start = ((f32[64]{0:T(256)}), f32[8]{0:T(128)}, u32[]{:S(2)}) async-start(%fusion.9), calls=%async_computation
  %scatter-done = f32[8]{0:T(128)} async-done(%scatter-start)
  ROOT %result = (f32[64]{0:T(256)}, f32[8]{0:T(128)}) tuple(%fusion.9, %scatter-done)
}
"""  # noqa: E501
KNOWN = ', backend_config={"known_trip_count":{"n":"9"}}'


def test_sums_what_runs_and_nothing_inside_a_fusion() -> None:
    program = hlo.read(STEP.replace("BACKEND", KNOWN))
    assert program.cycles == 2381 + 9 * 10
    assert program.unpriced == {"copy-start": 1, "all-reduce": 1 + 9, "reduce-scatter": 1}
    assert program.collectives == {"all-reduce": 10, "reduce-scatter": 1}
    # Operands: 64 floats in the loop; 64 floats and 16 x 64 bfloat16; 64 floats.
    assert program.collective_bytes == 9 * 256 + (256 + 2048) + 256
    assert program.exchanged == {"all-reduce": 9 * 256 + 256 + 2048, "reduce-scatter": 256}
    assert program.in_loops == 9 and program.unknown_loops == 0


GPU = """\
HloModule jit_step, is_scheduled=true

ENTRY %main.1 (x: bf16[16,8], k: bf16[8,4]) -> bf16[8,16] {
  %x = bf16[16,8]{1,0} parameter(0)
  %k = bf16[8,4]{1,0} parameter(1)
  %wrapped_transpose = bf16[8,16]{1,0} fusion(%x), kind=kInput, calls=%t
  %cudnn-conv.1 = (bf16[16,8]{1,0}, u8[0]{0}) custom-call(%x, %k), custom_call_target="__cudnn$convForward"
  %y = bf16[16,8]{1,0} get-tuple-element(%cudnn-conv.1), index=0
  %copy.1 = bf16[16,8]{0,1} copy(%y)
  %copy.2 = bf16[16,8]{1,0} copy(%y)
  %all-reduce-start = ((bf16[8,4]{1,0}), bf16[8,4]{1,0}) all-reduce-start(%k), channel_id=1
  %all-reduce-done = bf16[8,4]{1,0} all-reduce-done(%all-reduce-start)
  ROOT %loop_add_fusion = bf16[8,16]{1,0} fusion(%wrapped_transpose, %copy.1), kind=kLoop, calls=%a
}
"""  # noqa: E501


def test_counts_operations_and_what_only_changes_the_order_in_memory() -> None:
    program = hlo.read(GPU)
    assert program.operations == {"fusion": 2, "cudnn": 1, "copy": 2, "all-reduce": 1}
    assert program.transposes == 2  # the fusion that is named for it, the copy to other strides
    assert program.transposed_bytes == 2 * (256 + 256)
    assert program.touched_bytes == 2 * 512 + (256 + 64 + 256) + 512 + 2 * 64 + 3 * 256


BESIDE = """\
HloModule jit_step, is_scheduled=true

%fused_computation.1 (p.1: f32[4]) -> (f32[4], f32[32], u32[]) {
  %p.1 = f32[4]{0} parameter(0)
  %all-gather.1 = f32[32]{0} all-gather(%p.1), channel_id=1
  ROOT %custom-call.1 = (f32[4]{0}, f32[32]{0}, u32[]{:S(2)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.7 (p.2: f32[4], x.2: f32[8]) -> (f32[8], f32[32]) {
  %p.2 = f32[4]{0} parameter(0)
  %x.2 = f32[8]{0} parameter(1)
  %y.2 = f32[8]{0} add(%x.2, %x.2)
  %all-gather.2 = f32[32]{0} all-gather(%p.2), channel_id=1
  ROOT %tuple.2 = (f32[8]{0}, f32[32]{0}) tuple(%y.2, %all-gather.2)
}

%fused_computation.3 (p.3: f32[4]) -> f32[32] {
  %p.3 = f32[4]{0} parameter(0)
  %all-gather.3 = f32[32]{0} all-gather(%p.3), channel_id=1
  ROOT %custom-call.3 = f32[32]{0} custom-call(%p.3, %all-gather.3), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main.1 (x: f32[4], y: f32[8]) -> f32[32] {
  %x = f32[4]{0} parameter(0)
  %y = f32[8]{0} parameter(1)
  %fusion.1 = (f32[4]{0}, f32[32]{0}, u32[]{:S(2)}) fusion(%x), kind=kCustom, calls=%fused_computation.1
  %part = f32[4]{0} get-tuple-element(%fusion.1), index=0
  %fusion.2 = (f32[8]{0}, f32[32]{0}) fusion(%part, %y), kind=kCustom, calls=%async_collective_fusion.7
  ROOT %fusion.3 = f32[32]{0} fusion(%part), kind=kCustom, calls=%fused_computation.3
}
"""  # noqa: E501


def test_a_collective_beside_other_work_counts_once() -> None:
    program = hlo.read(BESIDE)
    assert program.collectives == {"all-gather": 1}
    assert program.collective_bytes == 4 * 4 and program.exchanged == {"all-gather": 4 * 32}


def test_a_loop_of_unknown_length_is_said_to_be_one() -> None:
    program = hlo.read(STEP.replace("BACKEND", ""))
    assert program.unknown_loops == 1
    assert program.cycles == 2381 + 10 and program.in_loops == 1


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[]{:T(128)}", 4),
        ("bf16[3,5]{1,0:T(8,128)(2,1)S(1)}", 30),
        ("(pred[7]{0}, u8[2,2]{1,0}, /*index=2*/s64[1]{0})", 7 + 4 + 8),
        ("f8e4m3fn[16]{0}", 16),
        ("s4[3]{0}", 2),
        ("token[]", 0),
    ],
)
def test_byte_size(shape: str, size: int) -> None:
    assert hlo.byte_size(shape) == size


def test_text_without_a_program_is_refused() -> None:
    with pytest.raises(ValueError, match="no ENTRY computation"):
        hlo.read("HloModule jit_step\n")
