"""Table values against pandas, scipy and the closed forms of the thesis; the choice of the best cell."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_study import PROVENANCE, SONGS, WINDOWS_PER_SONG, FakeStudy
from scipy import stats

from vocalremix.config.params import Cell
from vocalremix.report import write_report
from vocalremix.report.published import N_WINDOWS, PUBLISHED
from vocalremix.report.study import read_study
from vocalremix.report.table import Table
from vocalremix.report.tables import all_tables
from vocalremix.util.errors import InputError

COLUMNS = {"cSDR": "csdr_db", "uSDR": "usdr_db", "siSDR": "sisdr_db"}
SONG_COLUMNS = {"cSDR": "csdr_thesis_db", "uSDR": "usdr_db", "siSDR": "sisdr_db"}
BEST = "sweep/thesis_speech0.2_mix0.8_data1_songs42_seed42"


def windows(study: FakeStudy, name: str, system: str = "model") -> pd.DataFrame:
    table = pd.read_csv(study.scores / name / "windows.csv", keep_default_na=False, na_values=[""])
    return table[table.system == system]


def songs(study: FakeStudy, name: str, system: str = "model") -> pd.DataFrame:
    table = pd.read_csv(study.scores / name / "songs.csv", keep_default_na=False, na_values=[""])
    return table[table.system == system].set_index("song")


@pytest.fixture(scope="session")
def tables(reported: FakeStudy) -> dict[str, Table]:
    study = read_study(reported.settings, reported.data, reported.scores)
    return {table.name: table for table in all_tables(study)}


def row(table: Table, metric: str, source: str = "this run") -> dict[str, Any]:
    return next(dict(row) for row in table.rows if (row["metric"], row["source"]) == (metric, source))


@pytest.mark.parametrize("metric", COLUMNS)
@pytest.mark.parametrize(("table", "run"), [("table_5_1_initial", "initial"), ("table_5_3_best_cell", BEST)])
def test_means_against_the_threshold(
    reported: FakeStudy, tables: dict[str, Table], table: str, run: str, metric: str
) -> None:
    values = windows(reported, run)[COLUMNS[metric]].dropna().to_numpy()
    se = np.std(values, ddof=1) / math.sqrt(len(values))
    z = (np.mean(values) - 10 * math.log10(5)) / se
    by_song = songs(reported, run)[SONG_COLUMNS[metric]]
    z_by_song = (by_song.mean() - 10 * math.log10(5)) / (by_song.std() / math.sqrt(len(SONGS)))
    low, high = stats.t.interval(0.95, len(SONGS) - 1, by_song.mean(), stats.sem(by_song))
    assert row(tables[table], metric) == pytest.approx(
        {
            "metric": metric,
            "source": "this run",
            "mean_db": np.mean(values),
            "std_db": np.std(values, ddof=1),
            "t": z,
            "se_db": se,
            "p": 1 - stats.norm.cdf(z),
            "n_windows": len(SONGS) * WINDOWS_PER_SONG - (metric == "siSDR"),
            "n_nan": int(metric == "siSDR"),
            "song_p": stats.norm.sf(z_by_song),
            "song_mean_db": by_song.mean(),
            "low_db": low,
            "high_db": high,
            "n_songs": len(SONGS),
        }
    )


def test_the_thesis_s_tests_with_its_songs_for_n(tables: dict[str, Table]) -> None:
    """FACTS: with n = 50 the difference of uSDR is not significant, p = 0.31."""
    assert row(tables["table_5_4_difference"], "uSDR", "thesis")["song_p"] == pytest.approx(0.31, abs=0.005)
    best = row(tables["table_5_3_best_cell"], "uSDR", "thesis")
    z = (7.13 - 10 * math.log10(5)) / (2.63 / math.sqrt(50))
    assert (best["song_p"], best["n_songs"]) == (pytest.approx(stats.norm.sf(z)), 50)


@pytest.mark.parametrize("metric", COLUMNS)
def test_overfit_is_scored_on_its_own_windows(reported: FakeStudy, tables: dict[str, Table], metric: str) -> None:
    before, after = (windows(reported, f"overfit/{name}")[COLUMNS[metric]] for name in ("initial", "overfit"))
    result = row(tables["table_5_2_overfit"], metric)
    assert result["initial_mean_db"] == pytest.approx(before.mean())
    assert result["mean_db"] == pytest.approx(after.mean())
    assert result["difference_db"] == pytest.approx(after.mean() - before.mean())
    assert result["n_windows"] + result["n_nan"] == 3


@pytest.mark.parametrize("metric", COLUMNS)
def test_difference_published_and_paired(reported: FakeStudy, tables: dict[str, Table], metric: str) -> None:
    trained, initial = (windows(reported, run)[COLUMNS[metric]].dropna() for run in (BEST, "initial"))
    trained_songs, initial_songs = (songs(reported, run)[SONG_COLUMNS[metric]] for run in (BEST, "initial"))
    se = math.sqrt(trained.var() / len(trained) + initial.var() / len(initial))
    z = (trained.mean() - initial.mean()) / se
    result = row(tables["table_5_4_difference"], metric)
    assert result["difference_db"] == pytest.approx(trained.mean() - initial.mean())
    assert (result["t"], result["se_db"]) == pytest.approx((z, se))
    assert result["p"] == pytest.approx(stats.norm.sf(z))
    paired = stats.ttest_rel(trained_songs, initial_songs)
    assert result["paired_p"] == pytest.approx(paired.pvalue)
    assert (result["low_db"], result["high_db"]) == pytest.approx(tuple(paired.confidence_interval(0.95)))
    assert result["wilcoxon_p"] == pytest.approx(stats.wilcoxon(trained_songs, initial_songs).pvalue)
    se_by_song = math.sqrt((trained_songs.var() + initial_songs.var()) / len(SONGS))
    assert result["song_p"] == pytest.approx(stats.norm.sf((trained_songs - initial_songs).mean() / se_by_song))
    assert result["song_difference_db"] == pytest.approx((trained_songs - initial_songs).mean())
    assert result["n_songs"] == len(SONGS)


@pytest.mark.parametrize("metric", COLUMNS)
def test_final_trainings(reported: FakeStudy, tables: dict[str, Table], metric: str) -> None:
    train, full, initial = (windows(reported, run)[COLUMNS[metric]] for run in ("train", "train_full", "initial"))
    assert row(tables["table_5_5_train"], metric)["mean_db"] == pytest.approx(train.mean())
    assert row(tables["table_5_5_train"], metric)["std_db"] == pytest.approx(train.std())
    result = row(tables["table_5_6_train_full"], metric)
    assert result["increase_percent"] == pytest.approx(100 * (full.mean() - initial.mean()) / initial.mean())


def test_no_increase_over_a_negative_mean(fake_study: FakeStudy) -> None:
    fake_study.add_scores("initial", -3.0)
    study = read_study(fake_study.settings, fake_study.data, fake_study.scores)
    table = next(table for table in all_tables(study) if table.name == "table_5_6_train_full")
    assert row(table, "uSDR")["increase_percent"] is None


def test_overview_averages_each_protocol_its_own_way(reported: FakeStudy, tables: dict[str, Table]) -> None:
    ours = {row["system"]: row for row in tables["overview"].rows if row["source"] == "this run"}
    assert list(ours) == ["mixture", "initial", "best cell", "train", "train_full"]
    scores = songs(reported, "train_full")
    assert ours["train_full"]["csdr_sisec_db"] == pytest.approx(scores.csdr_sisec_db.median())
    for name in ("usdr_db", "csdr_thesis_db", "sisdr_db"):
        assert ours["train_full"][name] == pytest.approx(scores[name].mean())
    assert ours["mixture"]["usdr_db"] == pytest.approx(songs(reported, "initial", "mixture").usdr_db.mean())
    assert ours["mixture"]["window_usdr_db"] == pytest.approx(windows(reported, "initial", "mixture").usdr_db.mean())


def test_validation_chooses_the_cell_and_the_test_songs_do_not(fake_study: FakeStudy, tables: dict[str, Table]) -> None:
    rows = tables["sweep"].rows
    assert [row["speech_remix_prob"] for row in rows if row["chosen"]] == [0.2]
    best_on_test = max(rows, key=lambda row: float(str(row["uSDR_db"])))
    assert best_on_test["speech_remix_prob"] == 0
    fake_study.add_cell(Cell("thesis", 1, 0.8, 1, 42, 42), test_db=-5.0, valid_db=9.0)
    study = read_study(fake_study.settings, fake_study.data, fake_study.scores)
    assert study.best_cell.speech_remix_prob == 1


def test_of_several_seeds_their_mean_chooses(empty_study: FakeStudy) -> None:
    study = empty_study.with_sweep(speech_remix_prob=[0, 0.2], seed=[1, 2]).write()
    for seed, none_db, some_db in ((1, 5.0, 6.0), (2, 8.0, 6.5)):
        study.add_cell(Cell("thesis", 0, 0.8, 1, 42, seed), valid_db=none_db)
        study.add_cell(Cell("thesis", 0.2, 0.8, 1, 42, seed), valid_db=some_db)
    assert read_study(study.settings, study.data, study.scores).best_cell == Cell("thesis", 0, 0.8, 1, 42, 1)


def test_the_thesis_s_vocals_stand_beside_vocals_only(fake_study: FakeStudy) -> None:
    study = read_study(fake_study.settings, fake_study.data, fake_study.scores)
    drums = study.settings.params.model_copy(update={"target": "drums"})
    tables = all_tables(replace(study, settings=replace(study.settings, params=drums)))
    assert len(tables) == 9
    assert "thesis" not in {row.get("source") for table in tables for row in table.rows}


def test_cells_taken_out_of_the_sweep_are_not_looked_at(fake_study: FakeStudy) -> None:
    fake_study.add_cell(Cell("thesis", 0.9, 0.8, 1, 42, 42), test_db=30.0, valid_db=30.0)
    smaller = fake_study.with_sweep(speech_remix_prob=[0, 0.1])
    study = read_study(smaller.settings, smaller.data, smaller.scores)
    assert [cell.speech_remix_prob for cell in study.cells] == [0, 0.1]
    assert study.best_cell.speech_remix_prob == 0.1


def test_sweep_without_validation_is_refused(fake_study: FakeStudy) -> None:
    fake_study.add(BEST, test_db=5.0, valid_db=None, epochs=3)
    with pytest.raises(InputError, match=r"speech0\.2.*validation"):
        read_study(fake_study.settings, fake_study.data, fake_study.scores)


def test_missing_scores_are_named(fake_study: FakeStudy) -> None:
    (fake_study.scores / "train" / "songs.csv").unlink()
    with pytest.raises(InputError, match=r"train/songs\.csv: cannot be read"):
        read_study(fake_study.settings, fake_study.data, fake_study.scores)


def test_markdown_and_csv_agree(reported: FakeStudy) -> None:
    folder = reported.report / "tables"
    assert len(list(folder.glob("*.csv"))) == len(list(folder.glob("*.md"))) == 10
    for path in folder.glob("*.csv"):
        with path.open() as file:
            header, *exact = csv.reader(file)
        lines = [line for line in path.with_suffix(".md").read_text().splitlines() if line.startswith("|")]
        shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
        assert len(shown) == len(exact) > 0
        for row_shown, row_exact in zip(shown, exact, strict=True):
            assert len(row_shown) == len(header)
            for name, cell, value in zip(header, row_shown, row_exact, strict=True):
                assert_same(name, cell, value)


def assert_same(column: str, shown: str, exact: str) -> None:
    if shown == "–" or shown == exact:
        assert exact == "" or shown == exact
    elif shown.startswith("<"):
        assert float(exact) < float(shown.removeprefix("< ")), column
    else:
        unit = 10.0 ** -len(shown.partition(".")[2])
        assert float(shown) == pytest.approx(float(exact), abs=0.501 * unit), column


def test_published_numbers_are_the_thesis_s(golden: Path, tables: dict[str, Table]) -> None:
    printed = json.loads((golden / "thesis_tables.json").read_text())
    assert int(N_WINDOWS) == printed["n_segments"]
    names = {"mean": "mean_db", "std": "std_db", "se": "se_db", "difference": "difference_db"}
    for name, rows in PUBLISHED.items():
        source = next(printed[key] for key in printed if key.startswith(name[: len("table_5_1")]))
        for metric, cells in rows.items():
            expected = {names.get(key, key): value for key, value in source[metric].items()}
            numbers = {key: float(value) for key, value in cells.items() if key != "increase_percent"}
            assert numbers == expected
            shown = row(tables[name], metric, "thesis")
            assert {key: shown[key] for key in cells} == cells


def test_one_test_song_has_no_paired_test(empty_study: FakeStudy) -> None:
    study = replace(empty_study.with_sweep(speech_remix_prob=[0, 0.2]), songs=SONGS[:1]).write()
    write_report(study.settings, study.data, study.scores, study.report, PROVENANCE)
    table = pd.read_csv(study.report / "tables" / "table_5_4_difference.csv")
    ours = table[table.source == "this run"]
    assert ours.paired_p.isna().all() and (ours.n_songs == 1).all() and ours.p.notna().all()
