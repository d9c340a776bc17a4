"""The rewriting of Metal into C++: which text comes out, which kernels and bindings are found. Nothing runs here."""

from __future__ import annotations

import pytest

from mps_spectro_patch.kernels.compilers.msl import entry_points, translate
from mps_spectro_patch.kernels.compilers.msl.conditionals import Conditionals
from mps_spectro_patch.kernels.launch import smooth_size
from mps_spectro_patch.kernels.plans import fft


def squeezed(text: str) -> str:
    return " ".join(text.split())


def rewritten(source: str, target: translate.Target = "host") -> str:
    return squeezed(translate.translate(source, target).text)


def parameters(source: str) -> list[tuple[str | None, str | None]]:
    (kernel,) = translate.translate(source, "host").kernels
    return [(p.buffer, p.builtin) for p in kernel.parameters]


def test_address_spaces_disappear_and_constant_becomes_const():
    text = rewritten("void f(device const float* a, thread float& b, constant int& c, threadgroup float* d) {}")
    assert text == "void f( const float* a, float& b, const int& c, float* d) {}"


@pytest.mark.parametrize(
    "declaration, expected",
    [
        ("constant float A = 1.0;", "const float A = 1.0f;"),
        ("constant constexpr float A = 1.0;", "constexpr float A = 1.0f;"),
        ("static constant constexpr int A[2] = {1, 2};", "static constexpr int A[2] = {1, 2};"),
        ("constant const int A = 1;", "const int A = 1;"),
        ("device float* constant* p;", "float* const* p;"),
    ],
)
def test_a_constant_is_const_exactly_once(declaration, expected):
    assert rewritten(declaration) == expected


@pytest.mark.parametrize(
    "literal, expected",
    [
        ("1.0", "1.0f"), ("1e-3", "1e-3f"), (".5", ".5f"), ("2.", "2.f"), ("1.5f", "1.5f"), ("0x1p3", "0x1p3f"),
        ("1.0h", "half(1.0f)"), ("1h", "half(1.0f)"), ("2.5bf", "bfloat(2.5f)"),
        ("7", "7"), ("7u", "7u"), ("0xFFh", "0xFFh"), ("0x1Eu", "0x1Eu"),
    ],
)  # fmt: skip
def test_a_literal_has_the_type_that_metal_gives_it(literal, expected):
    assert rewritten(f"auto x = {literal};") == f"auto x = {expected};"


def test_words_in_comments_and_strings_stay():
    source = '// device float\n/* constant 1.0 */ const char x[] = "thread kernel [[";'
    assert translate.translate(source, "host").text == source


def test_line_numbers_stay():
    source = """#include <metal_stdlib>
kernel void f(
  device float* a [[buffer(0)]],
  uint i [[
 thread_position_in_grid]])
{ }
int last;"""
    text = translate.translate(source, "host").text
    assert text.split("\n")[6] == "int last;"


def test_a_kernels_parameters_are_buffers_and_builtins():
    source = """
    kernel void f(device float* a [[buffer(2)]], constant uint& n [[ buffer(0) ]], uint2 p [[thread_position_in_grid]],
                  uint lane [[thread_index_in_simdgroup]]) {}"""
    assert parameters(source) == [
        ("2", None), ("0", None), (None, "thread_position_in_grid"), (None, "thread_index_in_simdgroup"),
    ]  # fmt: skip


def test_a_parameter_without_an_index_takes_the_next_free_one():
    source = """
    kernel void f(device float* a, device float* b [[buffer(1)]], constant array<int, 2>& c,
                  uint i [[thread_position_in_grid]]) {}"""
    assert [buffer for buffer, _ in parameters(source)] == ["0", "1", "2", None]


def test_a_kernel_may_be_an_attribute_and_bound_its_threads():
    (kernel,) = translate.translate("[[kernel, max_total_threads_per_threadgroup(32 * N)]] void f() {}", "host").kernels
    assert (kernel.name, kernel.max_threads, kernel.buffers) == ("f", "32 * N", 0)


@pytest.mark.parametrize(
    "instantiation",
    [
        'template [[host_name("f_float")]] [[kernel]] decltype(f<float, (2 > 1)>) f<float, (2 > 1)>;',
        'template [[host_name("f_" "float")]] kernel void f<float, (2 > 1)>(device float* a, uint i);',
    ],
)
def test_an_instantiation_is_listed_under_its_host_name(instantiation):
    source = "template <typename T, bool B> kernel void f(device T* a, uint i [[thread_position_in_grid]]) {}\n"
    translation = translate.translate(source + instantiation, "host")
    (kernel,) = translation.kernels
    assert (kernel.name, squeezed(kernel.expression)) == ("f_float", "f < float , ( 2 > 1 ) >")
    assert "f_float" not in translation.text and len(kernel.parameters) == 2


def test_a_template_that_is_not_instantiated_is_no_kernel():
    assert translate.translate("template <typename T> kernel void f(device T* a) {}", "host").kernels == []


def test_kernels_in_namespaces_keep_them():
    (kernel,) = translate.translate("namespace a { namespace b { kernel void f() {} } }", "host").kernels
    assert (kernel.name, kernel.namespaces) == ("a::b::f", ("a", "b"))


def test_threadgroup_arrays_become_references_on_the_host():
    text = rewritten("kernel void f() { threadgroup float a[4][N * 2], b; a[0][0] = 1; }")
    assert "typedef float msl_type_1[ 4 ] [ N * 2 ]; msl_type_1 &a = ::msl::threadgroup_variable<msl_tag_1" in text
    assert "typedef float msl_type_2; msl_type_2 &b = ::msl::threadgroup_variable<msl_tag_2, msl_type_2>();" in text


def test_threadgroup_arrays_become_shared_on_cuda():
    text = rewritten("kernel void f() { threadgroup metal::array<float, 2 * N> a [ 4 ] ; }", "cuda")
    assert "__shared__ metal :: array < float , 2 * N > a[ 4 ];" in text


def test_a_threadgroup_pointer_is_no_variable():
    source = "kernel void f() { threadgroup float a[2]; threadgroup float* p = a; f((threadgroup int*)p); }"
    assert "__shared__ float a[ 2 ]; float* p = a; f(( int*)p);" in rewritten(source, "cuda")


def test_overloads_on_the_address_space_alone_are_merged():
    text = rewritten("float f(device float* p) { return *p; } float f(thread float* p) { return *p; }")
    assert text == "float f( float* p) { return *p; }"


def test_overloads_on_the_address_space_alone_that_differ_are_refused():
    with pytest.raises(SyntaxError, match="overloaded on the address space alone"):
        translate.translate("int f(device float* p) { return 1; } int f(thread float* p) { return 2; }", "host")


@pytest.mark.parametrize(
    "source, message",
    [
        ("kernel void f(threadgroup float* a [[threadgroup(0)]]) {}", "cannot be bound from Python"),
        ("kernel void f(uint i [[thread_position_in_grit]]) {}", "unknown kernel attribute 'thread_position_in_grit'"),
        ("void f() { threadgroup float a[2]; }", "must be declared in a kernel"),
        ("kernel void f() { threadgroup float a = 1; }", "cannot have an initializer"),
        ("\n\nkernel void f() { ", "program_source:3: .* never closed"),
        ("kernel int f() { return 1; }", "must return void"),
        ("kernel void f() {} kernel void f(device int* a) {}", "cannot be overloaded"),
    ],
)
def test_what_metal_refuses_is_a_syntax_error(source, message):
    with pytest.raises(SyntaxError, match=message):
        translate.translate(source, "host")


@pytest.mark.parametrize(
    "source, needed",
    [
        ("#define N 4\nkernel void f(device float* a [[buffer(0)]]) {}", False),
        ("#if N\nint x;\n#endif\nkernel void f() {}", False),
        ("#define K(n) kernel void n() {}\nK(f)", True),
        ('#define I(t) template [[host_name("f_" #t)]] \\\n  [[kernel]] decltype(f<t>) f<t>;\nI(int)', True),
        ("#if 1\nkernel void f() {}\n#endif", True),
        ("#define NAME f\nkernel void NAME() {}", True),
    ],
)
def test_a_preprocessor_is_needed_only_where_macros_write_kernels(source, needed):
    assert translate.needs_preprocessor(source) is needed


def test_cuda_parameters_know_where_their_argument_usually_is():
    source = "kernel void f(const device float* a, constant int& n, constant int* p) {}"
    translation = translate.translate(source, "cuda")
    text = entry_points.cuda_unit(translation.text, translation.kernels, 256, False)
    assert "msl::pointer(block, 0)" in text and "msl::inlined(block, 1)" in text and "msl::either(block, 2)" in text
    assert "msl::either(block, 0)" in entry_points.cuda_unit(translation.text, translation.kernels, 256, True)


def body(statements: str, before: str = "") -> str:
    """What becomes of the statements of a function."""
    text = translate.translate(f"{before}void f() {{{statements}}}", "host").text
    return squeezed(text[text.rindex("f() {") + 5 : -1])


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("x = c ? h : 0.0;", "x = ::msl::chosen(c ? (h, ::msl::arm()) : 0.0f);"),
        ("return a == 2 ? h : k;", "return ::msl::chosen(a == 2 ? (h, ::msl::arm()) : (k, ::msl::arm()));"),
        ("x += p && q ? -1 : h;", "x += ::msl::chosen(p && q ? -1 : (h, ::msl::arm()));"),
        ("g(f<a, b>(x) >= 1 ? h : 0, 1);", "g( ::msl::chosen(f<a, b>(x) >= 1 ? (h, ::msl::arm()) : 0), 1);"),
        ("if (a) c ? f() : g();", "if (a) ::msl::chosen(c ? (f(), ::msl::arm()) : (g(), ::msl::arm()));"),
        ("case 1:c ? f() : g();", "case 1: ::msl::chosen(c ? (f(), ::msl::arm()) : (g(), ::msl::arm()));"),
        ("x = a ? h : b ? k : 0;",
         "x = ::msl::chosen(a ? (h, ::msl::arm()) : ( ::msl::chosen(b ? (k, ::msl::arm()) : 0), ::msl::arm()));"),
        ("x = a ? b ? h : 0 : 1;",
         "x = ::msl::chosen(a ? ( ::msl::chosen(b ? (h, ::msl::arm()) : 0), ::msl::arm()) : 1);"),
        ("x = (a ? b : 0) ? 1h : 0;",
         "x = ::msl::chosen(( ::msl::chosen(a ? (b, ::msl::arm()) : 0)) ? (half(1.0f), ::msl::arm()) : 0);"),
    ],
)  # fmt: skip
def test_the_arms_of_a_conditional_are_marked_where_the_source_has_half(statement, expected):
    assert body(statement, "constant half one = 1.0h; ") == expected


@pytest.mark.parametrize(
    "statement",
    [
        "int a[N > 4 ? 8 : 2];",
        "g<N ? M : 2>(h);",
        "(c ? h : k) = x;",
        "(c ? h : k)[0] += x;",
        "++(c ? h : k);",
        "p = &(c ? h : k);",
        "half& r = c ? h : k;",
        "p = c ? NULL : 0;",
        "x = c ?\n#if A\n a\n#else\n b\n#endif\n : d;",
        "\n#define MAYBE(c, x) ((c) ? (x) : 0)\n",
    ],
)
def test_literal_arms_lvalues_template_arguments_and_directives_stay(statement):
    assert body(statement, "template <int N> void g(half x); ") == squeezed(statement)


def test_without_half_only_a_conditional_with_a_swizzle_in_an_arm_is_marked():
    text = body("x = c ? a.x : b; y = c ? v.xy : w; z = v.xy.x > 0 ? a : b;")
    assert (
        text == "x = c ? a.x : b; y = ::msl::chosen(c ? (v.xy, ::msl::arm()) : (w, ::msl::arm())); z = v.x > 0 ? a : b;"
    )


def test_marking_the_arms_keeps_every_line():
    source = "half f(bool c, half h) {\n  return c\n    ? h  // one\n    : c\n      ? -h\n      : 0;\n}\nint last;"
    text = translate.translate(source, "host").text
    assert text.count("::msl::chosen") == 2
    assert [i for i, line in enumerate(text.split("\n")) if "last" in line or "// one" in line] == [2, 7]


@pytest.mark.parametrize("n_fft", [256, 400, 2048])
@pytest.mark.parametrize("target", ["host", "cuda"])
def test_the_packages_own_conditionals_stay_as_they_are(monkeypatch, n_fft, target):
    sources = [smooth_size.kernel_source(make(n_fft)) for make in (fft.stft_plan, fft.istft_plan)]
    texts = [translate.translate(source, target).text for source in sources]
    assert all(" ? " in text for text in texts)
    monkeypatch.setattr(Conditionals, "rewrite", lambda self, bodies: None)
    assert texts == [translate.translate(source, target).text for source in sources]
