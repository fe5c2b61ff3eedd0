"""Questions of a study against scipy on its song scores: what is compared with what, over which seeds."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_study import SONGS, FakeStudy
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vocalremix.config.params import AXES, Cell
from vocalremix.report.questions import FINAL, FINE_TUNING, INTERACTION, SETTING_BY_SETTING, THRESHOLD, Question, ask
from vocalremix.report.study import METRICS, USDR, read_study
from vocalremix.report.summary import verdicts
from vocalremix.report.tables import all_tables
from vocalremix.statistics import crossed_test

SPEECH = AXES["speech_remix_prob"].question


def asked(study: FakeStudy) -> dict[str, Question]:
    return {question.title: question for question in ask(read_study(study.settings, study.data, study.scores))}


def usdr(study: FakeStudy, name: str) -> np.ndarray:
    songs = pd.read_csv(study.scores / name / "songs.csv", keep_default_na=False, na_values=[""])
    return songs[songs.system == "model"].usdr_db.to_numpy()


def test_speech_is_compared_with_none_and_adjusted(reported: FakeStudy) -> None:
    question = asked(reported)[SPEECH]
    assert [comparison.subject for comparison in question.comparisons] == [
        f"speech_remix_prob {probability}" for probability in ("0.1", "0.2", "0.3", "0.5", "1")
    ]
    names = [f"sweep/{Cell('thesis', p, 0.8, 1, 42, 42).name}" for p in (0, 0.1, 0.2, 0.3, 0.5, 1)]
    none, *others = (usdr(reported, name) for name in names)
    tests = [stats.ttest_rel(scores, none) for scores in others]
    adjusted = multipletests([test.pvalue for test in tests], method="holm")[1]
    for comparison, scores, test, p in zip(question.comparisons, others, tests, adjusted, strict=True):
        effect = comparison.effects[USDR]
        assert effect.difference == pytest.approx(np.mean(scores - none))
        assert (effect.p_value, effect.adjusted_p) == pytest.approx((test.pvalue, p))
        assert effect.confidence_interval == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_what_one_sweep_of_speech_can_answer(reported: FakeStudy) -> None:
    questions = asked(reported)
    assert list(questions) == [SPEECH, FINE_TUNING, FINAL, THRESHOLD]
    (fine_tuning,) = questions[FINE_TUNING].comparisons
    best = usdr(reported, "sweep/thesis_speech0.2_mix0.8_data1_songs42_seed42")
    assert fine_tuning.effects[USDR].difference == pytest.approx(np.mean(best - usdr(reported, "initial")))
    against = [(comparison.subject, comparison.baseline) for comparison in questions[FINAL].comparisons]
    assert against == [("train", "initial"), ("train_full", "initial"), ("train_full", "train")]
    level = questions[THRESHOLD].comparisons[-1].effects[USDR].difference
    assert level == pytest.approx(np.mean(usdr(reported, "train_full")) - 10 * np.log10(5))


def test_seeds_of_a_cell_are_one_system_and_paired_by_seed(empty_study: FakeStudy) -> None:
    study = empty_study.with_sweep(speech_remix_prob=[0, 0.5], data_fraction=[0.4, 1], seed=[1, 2, 3]).write()
    questions = asked(study)
    asked_of = {name: axis.question for name, axis in AXES.items() if axis.question}
    each = {axis: f"{title} {SETTING_BY_SETTING}" for axis, title in asked_of.items()}
    shares = asked_of["data_fraction"]
    assert list(questions)[:5] == [SPEECH, each["speech_remix_prob"], shares, each["data_fraction"], INTERACTION]
    assert [question.is_detail for question in questions.values()][:5] == [False, True, False, True, False]

    def gains(fraction: float) -> np.ndarray:
        names = [[f"sweep/{Cell('thesis', p, 0.8, fraction, 42, seed).name}" for seed in (1, 2, 3)] for p in (0.5, 0)]
        with_speech, without = ([usdr(study, name) for name in row] for row in names)
        return np.subtract(with_speech, without)

    (speech,) = questions[SPEECH].comparisons
    assert (speech.subject, speech.baseline) == ("speech_remix_prob 0.5 on average over data_fraction", "0")
    pooled = crossed_test(((gains(0.4) + gains(1)) / 2).T)
    effect = speech.effects[USDR]
    assert (effect.difference, effect.p_value) == pytest.approx((pooled.difference, pooled.p_value))
    few, many = questions[each["speech_remix_prob"]].comparisons
    assert (few.subject, few.baseline) == ("speech_remix_prob 0.5 at data_fraction 0.4", "0")
    for comparison, fraction in ((few, 0.4), (many, 1)):
        effect = comparison.effects[USDR]
        assert effect.difference == pytest.approx(gains(fraction).mean())
        assert (effect.n_songs, effect.n_seeds) == (len(SONGS), 3)
    (interaction,) = questions[INTERACTION].comparisons
    assert interaction.effects[USDR].difference == pytest.approx((gains(0.4) - gains(1)).mean())
    (less_data, _) = questions[each["data_fraction"]].comparisons
    assert (less_data.subject, less_data.baseline) == ("data_fraction 0.4 at speech_remix_prob 0", "1")
    for effect in (
        questions[FINE_TUNING].comparisons[0].effects[USDR],
        questions[THRESHOLD].comparisons[1].effects[USDR],
    ):
        assert (effect.n_draws, effect.n_seeds) == (1, 3)


def test_draws_of_the_training_songs_are_a_factor(empty_study: FakeStudy) -> None:
    """At data_fraction 1 there is one draw, whatever songs_seed says."""
    study = empty_study.with_sweep(
        speech_remix_prob=[0, 0.5], data_fraction=[0.4, 1], songs_seed=[7, 8, 9], seed=[1, 2]
    )
    questions = asked(study.write())
    few, many = questions[f"{SPEECH} {SETTING_BY_SETTING}"].comparisons
    assert (few.effects[USDR].n_draws, few.effects[USDR].n_seeds, few.effects[USDR].method) == (
        *(3, 2),
        "songs, draws and seeds",
    )
    assert (many.effects[USDR].n_draws, many.effects[USDR].n_seeds) == (1, 2)

    def songs(p: float, fraction: float, draw: int, seed: int) -> np.ndarray:
        return np.asarray(usdr(study, f"sweep/{Cell('thesis', p, 0.8, fraction, draw, seed).name}"))

    def gains(fraction: float, draws: tuple[int, ...]) -> np.ndarray:
        rows = [[songs(0.5, fraction, d, s) - songs(0, fraction, d, s) for s in (1, 2)] for d in draws]
        return np.moveaxis(np.asarray(rows), 2, 0)

    at_few, at_all = gains(0.4, (7, 8, 9)), gains(1, (7,))
    assert few.effects[USDR].p_value == pytest.approx(crossed_test(at_few).p_value)
    assert many.effects[USDR].p_value == pytest.approx(crossed_test(at_all[:, 0]).p_value)
    (interaction,) = questions[INTERACTION].comparisons
    assert interaction.effects[USDR].n_draws == 3
    assert interaction.effects[USDR].p_value == pytest.approx(crossed_test(at_few - at_all).p_value)
    levels = {comparison.subject: comparison.effects[USDR] for comparison in questions[THRESHOLD].comparisons}
    best = read_study(study.settings, study.data, study.scores).best_cell
    assert (levels["the best cell"].n_draws, levels["the best cell"].n_seeds) == (3 if best.data_fraction < 1 else 1, 2)
    assert not questions[INTERACTION].note and "draws of the training songs" in few.effects[USDR].method + "".join(
        verdict.text for verdict in questions[f"{SPEECH} {SETTING_BY_SETTING}"].verdicts
    )


def test_every_comparison_is_a_row(reported: FakeStudy) -> None:
    table = pd.read_csv(reported.report / "tables" / "effects.csv")
    questions = asked(reported).values()
    assert len(table) == sum(len(question.comparisons) for question in questions) * len(METRICS)
    verdicts = (reported.report / "verdicts.md").read_text()
    for sentence in itertools.chain.from_iterable(question.verdicts for question in questions):
        assert sentence.text in verdicts


def test_verdicts_follow_the_numbers(reported: FakeStudy) -> None:
    """speech_remix_prob 1 costs the fake study 3 dB, 0.1 costs 0.3 dB under noise of 0.7 dB."""
    directions = {verdict.text.split(",")[0]: verdict.direction for verdict in asked(reported)[SPEECH].verdicts}
    assert directions["speech_remix_prob 1"] == "down"
    assert directions["Cannot tell whether speech_remix_prob 0.1"] == "unknown"
    (best,) = asked(reported)[FINE_TUNING].verdicts
    assert best.direction == "up" and best.text.startswith("The best cell, against initial, raises uSDR by ")


def test_a_metric_that_no_song_has_is_left_out(fake_study: FakeStudy) -> None:
    for path in fake_study.scores.rglob("songs.csv"):
        songs = pd.read_csv(path, keep_default_na=False, na_values=[""])
        songs.assign(sisdr_db=np.nan).to_csv(path, index=False)
    for question in asked(fake_study).values():
        assert all(len(comparison.effects) == len(METRICS) - 1 for comparison in question.comparisons)


def test_one_song_answers_nothing_for_sure(empty_study: FakeStudy, tmp_path: Path) -> None:
    study = replace(empty_study, songs=SONGS[:1]).write()
    sentences = verdicts(list(asked(study).values())).splitlines()
    assert all(line.startswith("- Cannot tell") for line in sentences if line.startswith("- "))


@pytest.mark.parametrize(
    ("at_few", "at_many", "says"),
    [
        # dB without speech and with it: the level is lower where songs are scarce, the gain larger, and the reverse
        (
            (1, 6),
            (6, 7),
            r"The gain by {}, in uSDR, is [345]\.\d\d dB above the gain at data_fraction 1, 95 %",
        ),
        (
            (6, 7),
            (1, 6),
            r"The gain by {}, in uSDR, is [345]\.\d\d dB below the gain at data_fraction 1, 95 %",
        ),
        (
            (1, 2),
            (6, 7),
            r"Cannot tell the gain by {} from the gain at data_fraction 1: [+-]0\.\d\d dB, 95 %",
        ),
    ],
)
def test_a_difference_of_gains_is_not_told_as_one_of_levels(
    empty_study: FakeStudy, at_few: tuple[float, float], at_many: tuple[float, float], says: str
) -> None:
    study = empty_study.with_sweep(speech_remix_prob=[0, 0.5], data_fraction=[0.4, 1], seed=[1, 2, 3]).write()
    for fraction, levels in ((0.4, at_few), (1, at_many)):
        for probability, level in zip((0, 0.5), levels, strict=True):
            for seed in (1, 2, 3):
                study.add_cell(Cell("thesis", probability, 0.8, fraction, 42, seed), test_db=level, valid_db=5)
    ((text, _),) = asked(study)[INTERACTION].verdicts
    assert re.match(says.format("speech_remix_prob 0.5 at data_fraction 0.4"), text)


def test_what_the_best_cell_of_several_seeds_is(empty_study: FakeStudy) -> None:
    """The mean over seeds chooses, and the captions name it, not a seed's."""
    study = empty_study.with_sweep(speech_remix_prob=[0, 0.5], seed=[1, 2, 3]).write()
    for seed, valid_db in zip((1, 2, 3), (4, 7, 8), strict=True):
        study.add_cell(Cell("thesis", 0.5, 0.8, 1, 42, seed), test_db=6, valid_db=valid_db)
        study.add_cell(Cell("thesis", 0, 0.8, 1, 42, seed), test_db=6, valid_db=5.9)
    tables = {table.name: table for table in all_tables(read_study(study.settings, study.data, study.scores))}
    for table in ("table_5_3_best_cell", "table_5_4_difference"):
        caption = tables[table].caption
        assert (
            "seed 1, the first of 3 trainings of the settings with the highest mean validation uSDR (6.33 dB" in caption
        )
