"""benchmarks/sanitizers.py: what it counts of what compute-sanitizer prints."""

from __future__ import annotations

from benchmarks import sanitizers

IMPORTED = 'Program hit CUDA_ERROR_NOT_FOUND (error 500) due to "not found" on CUDA API call to cuGetProcAddress_v2.'
REAL = "========= Invalid __global__ read of size 4 bytes"


def test_what_an_import_asks_for_is_not_counted_and_everything_else_is():
    assert sanitizers.errors(f"{IMPORTED}\n{IMPORTED}\n========= ERROR SUMMARY: 2 errors") == 0
    assert sanitizers.errors(f"{IMPORTED}\n{REAL}\n========= ERROR SUMMARY: 2 errors") == 1
    assert sanitizers.errors("========= RACECHECK SUMMARY: 3 hazards displayed (1 error, 2 warnings)") == 3
    assert sanitizers.errors("========= ERROR SUMMARY: 1 error") == 1


def test_a_run_without_a_summary_is_none_that_found_nothing():
    found = {(tool, program): None for tool in sanitizers.TOOLS for program in sanitizers.PROGRAMS}
    assert sanitizers.errors("killed") is None
    page = sanitizers.page(found, "a GPU", "0" * 16)
    assert page.count("did not end") == 8 and "Metal text 0000000000000000" in page
