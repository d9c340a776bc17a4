"""What the tables say is what was measured: factors, rates, shares, peers, predictions beside measured times."""

from __future__ import annotations

import pytest

from mps_spectro_patch.bench import compare, prediction, tables
from mps_spectro_patch.bench.cases import Case, cases
from mps_spectro_patch.cli import commands

from .conftest import make_result


def line(text: str, *words: str) -> list[str]:
    (found,) = [row for row in text.splitlines() if row.startswith("|") and all(word in row for word in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_factors_rates_and_shares_are_worked_out_from_times(result):
    text = tables.markdown(result)
    cells = line(text, "B4 T1320000", "| stft |")
    assert cells[2] == "2.0000 ±0.0100 -> 0.4000 ±0.0100 (5.00x)"
    assert cells[4] == "264" and cells[5] == "60 %"  # 105.77 MB in 0.4 ms, of 440 GB/s
    assert "1.2e-07" in cells and "1.80 -> 1.37" in cells and "1.0 -> 1.0" in cells


def test_device_time_counts_where_there_is_one(result):
    for times in result["rows"][0]["by"].values():
        times["device"] = {"median": 0.25, "spread": 0, "count": 10}
    assert tables.rate(result["rows"][0]) == pytest.approx(423, abs=1)
    assert "0.2500 ±0.0000 -> 0.2500 ±0.0000 (1.00x)" in tables.markdown(result)


def test_on_an_apple_gpu_the_prediction_stands_beside_what_was_measured(result):
    text = tables.markdown(result)
    assert "predicted, Apple M4 Max" in text and line(text, "B4 T1320000", "| stft |")[-1] == "0.37"
    unknown = make_result(name="Apple M9")
    assert "predicted, from the copy rate" in tables.markdown(unknown)
    assert line(tables.markdown(unknown), "| stft |")[-1] == f"{0.13 + 105.77 / 440:.2f}"
    assert "predicted" not in tables.markdown(make_result("cuda", "NVIDIA H100"))


def test_peers_stand_side_by_side(result):
    assert "## Peers" not in tables.markdown(result)
    result["rows"][0]["by"]["nnAudio"] = make_result(scale=3)["rows"][0]["by"]["ours"]
    text = tables.markdown(result).split("## Peers")[1]
    assert line(text, "B4 T1320000")[2:] == ["2.0000 (5.0x)", "0.4000", "1.2000 (3.0x)"]


def test_failures_are_told(result):
    result["rows"][0]["failed"]["torchaudio"] = "OSError: gone"
    assert "* B4 T1320000 n1024 h256 stft, torchaudio: OSError: gone" in tables.markdown(result)


@pytest.mark.parametrize(
    ("rows", "samples", "chip", "milliseconds"),
    [(4, 160_000, "Apple M4 Max", 0.16), (8, 160_000, "Apple M4 Max", 0.19), (4, 1_320_000, "Apple M4 Max", 0.37),
     (4, 1_320_000, "Apple M1", 2.07)],
)  # fmt: skip
def test_the_prediction_is_a_fixed_cost_and_the_bytes(rows, samples, chip, milliseconds):
    case = Case("stft", "stft", rows, samples, 1024, 256)
    assert prediction.predicted(case, prediction.chip(chip)) == pytest.approx(milliseconds, abs=0.006)


def test_a_mel_front_end_is_predicted_to_wait_for_its_arithmetic_where_memory_is_fast():
    case = next(case for case in cases(("mel",)) if case.rows == 4 and case.samples == 1_320_000)
    kernel = {name: prediction.predicted(case, prediction.chip(name)) - prediction.FIXED for name in
              ("Apple M4 Max", "Apple M1")}  # fmt: skip
    memory = case.bytes_moved / prediction.BANDWIDTH
    assert memory / 546e6 * 1.1 < kernel["Apple M4 Max"] < 0.1
    assert kernel["Apple M1"] == pytest.approx(memory / 68e6)


def test_the_prediction_is_printed_for_all_cases_and_says_what_it_is(capsys):
    assert commands.main(["bench", "--predict"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# A prediction, not a measurement") and "M4 Max" in text and "M1" in text
    assert text.count("\n| ") == 1 + len(cases())
    assert line(text, "B4 T1320000 n1024 h256", "| stft |")[-2:] == ["1.80 -> 1.37", "memory"]
    assert line(text, "log-mel B4 T1320000", "| log-mel |")[-1].startswith("memory; arithmetic on")


def test_every_case_has_the_cycles_of_its_kernels_and_every_row_says_what_binds():
    chips = [prediction.chip(name) for name in prediction.SHOWN]
    for case in cases():
        assert all(prediction.cycles_per_frame(kernel, case.n_fft) > 0 for kernel in prediction.kernels(case)), case
        by = {}
        for chip in chips:
            memory, arithmetic = prediction.predicted_parts(case, chip)
            by[chip.name] = prediction.bound(case, [chip])
            assert by[chip.name] == ("memory" if memory > arithmetic else "arithmetic")
        other = [name.removeprefix("Apple ") for name in by if by[name] == "arithmetic"]
        words = (
            "arithmetic"
            if len(other) == len(by)
            else f"memory; arithmetic on {', '.join(other)}"
            if other
            else "memory"
        )
        assert prediction.bound(case, chips) == words


def test_a_size_between_two_is_predicted_between_them():
    known = {int(size) for size in prediction.cycles()["stft"]}
    assert {400, 1024, 4096} <= known and 1100 not in known
    counts = [prediction.cycles_per_frame("stft", size) for size in (1024, 1100, 1200, 2048)]
    assert counts == sorted(counts) and counts[0] == prediction.cycles()["stft"]["1024"]


def test_compare_tells_what_is_beyond_the_spread(tmp_path, capsys):
    before, after = make_result(), make_result()
    after["rows"][0]["by"]["ours"]["synchronised"]["median"] = 0.30  # of 0.40, spreads 0.01
    after["rows"][0]["by"]["ours"]["queued"]["median"] = 0.415  # within both spreads
    after["rows"][1]["by"]["ours"]["queued"]["median"] = 0.6
    after["rows"].append({**after["rows"][1], "key": "another"})
    import json

    for name, data in (("a", before), ("b", after)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    assert commands.main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    text = capsys.readouterr().out
    cells = line(text, "| stft |")
    assert cells[2] == "0.4000 -> 0.3000 ms, 1.33x faster" and cells[3] == "0.4000 -> 0.4150 ms"
    assert "0.83x slower" in line(text, "| istft |")[3]
    assert "1 times faster, 1 times slower, in 2 cases" in text and "only in b: another" in text


@pytest.mark.parametrize("text", [
    *("[]", "nothing", "null", '{"format": 2, "rows": []}', '{"format": 1}', '{"format": 1, "rows": [{"x": 1}]}'),
    *('{"format": 1, "rows": 1}', '{"format": 1, "rows": [1]}', '{"format": 1, "rows": [{"key": []}]}'),
])  # fmt: skip
def test_compare_refuses_what_is_no_result(text, tmp_path, capsys):
    (tmp_path / "a.json").write_text(text)
    assert commands.main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "a.json" in capsys.readouterr().err
    assert commands.main(["bench", "--compare", str(tmp_path / "none"), str(tmp_path / "none")]) == 2


def test_a_kept_result_compared_with_itself_is_the_same(capsys):
    from .test_readme_table import readme

    data = compare.load(readme.KEPT)
    assert f"0 times faster, 0 times slower, in {len(data['rows'])} cases" in compare.table(data, data)
