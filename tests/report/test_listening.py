"""The player: its files by decoding them, its sound by what reaches the output of a real browser."""

import base64
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from browser import browser as browser
from browser import quiet_page
from playwright.sync_api import Browser, Page, expect

from vocalremix.audio.waveform import Waveform
from vocalremix.report.listening import (
    Excerpt,
    Track,
    asset,
    listening_html,
    matched_gains,
    write_listening,
)
from vocalremix.util.values import SAMPLE_RATE

DURATION_S = 2.0
HEARD_SAMPLES = 8192
# what a test taps is what the page sends to the loudspeakers, and when sources were told to start
TAP = """
(() => {
  const {start} = AudioBufferSourceNode.prototype, {connect} = AudioNode.prototype;
  window.tap = {starts: [], analyser: null, samples: (n) => {
    const samples = new Float32Array(32768);
    tap.analyser.getFloatTimeDomainData(samples);
    return Array.from(samples.slice(-n));
  }};
  AudioBufferSourceNode.prototype.start = function (when, offset) {
    tap.starts.push({when, offset, now: this.context.currentTime});
    start.call(this, when, offset);
  };
  AudioNode.prototype.connect = function (to, ...others) {
    if (to instanceof AudioDestinationNode) {
      tap.analyser ??= new AnalyserNode(this.context, {fftSize: 32768});
      connect.call(this, tap.analyser);
    }
    return connect.call(this, to, ...others);
  };
})();
"""
# within the page, so that the switch is surely within the samples that are kept
SWITCH = """
async (name) => {
  const {context} = tap.analyser;
  document.querySelector(`[value=${name}]`).click();
  const end = context.currentTime + 0.2;
  while (context.currentTime < end) await new Promise(requestAnimationFrame);
  return tap.samples(32768);
}
"""


def sine(frequency_hz: float, amplitude: float) -> Waveform:
    time = np.arange(round(DURATION_S * SAMPLE_RATE)) / SAMPLE_RATE
    return np.tile(amplitude * np.sin(2 * np.pi * frequency_hz * time), (2, 1)).astype(np.float32)


SINES = {"mixture": (440, 0.4), "reference": (1000, 0.2), "initial": (2000, 0.05), "train_full": (3500, 0.6)}
USDR = {"mixture": -1.5, "reference": None, "initial": math.nan, "train_full": 3.214}
SONG = "Kalium <b>&"
EXCERPTS = (
    Excerpt(
        SONG,
        "largest gain",
        "uSDR 3.1 dB initial",
        83.4,
        (
            *(Track(name, sine(*SINES[name]), USDR[name]) for name in SINES),
            Track("silent", sine(100, 0), 0.0),
        ),
    ),
    Excerpt(
        "Francium",
        "smallest gain",
        "a_name_without_any_place_to_break_it_that_is_wider_than_a_phone",
        0.0,
        (
            Track("reference", sine(6000, 0.3), None),
            Track("speech_remix_prob=0.25-mix_prob=0.8-data_fraction=0.5", sine(7000, 0.3), math.inf),
        ),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "listening").mkdir()
    write_listening(EXCERPTS, folder / "listening")
    (folder / "index.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Test</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<style>{asset('listening.css')}</style>{listening_html(EXCERPTS, 'listening/')}"
        f"<script>{asset('listening.js')}</script>"
    )
    return folder


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    with quiet_page(browser) as page:
        page.add_init_script(TAP)
        page.goto((folder / "index.html").as_uri())
        yield page


def state(page: Page, player: int = 0) -> dict[str, Any]:
    result: dict[str, Any] = page.evaluate(f"listening.players[{player}].state()")
    return result


def play(page: Page, song: str = SONG, player: int = 0) -> None:
    page.get_by_role("button", name=f"Play {song}").click()
    page.wait_for_function(f"listening.players[{player}].state().playing")


def choose(page: Page, name: str) -> None:
    page.get_by_role("radio", name=re.compile(f"^{re.escape(name)},.*{re.escape(SONG)}")).check()


def wait(page: Page, seconds: float) -> None:
    """Until so much more has been rendered, however long that takes."""
    page.wait_for_function(
        "end => tap.analyser.context.currentTime > end",
        arg=page.evaluate("tap.analyser.context.currentTime") + seconds,
    )


def heard(page: Page, samples: int = HEARD_SAMPLES) -> npt.NDArray[np.float64]:
    """The samples last played, all of them rendered after the call."""
    wait(page, samples / SAMPLE_RATE + 0.1)
    return np.array(page.evaluate(f"tap.samples({samples})"))


def frequency_hz(samples: npt.NDArray[np.float64]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()])


def rms(samples: npt.ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def decoded(script: Path) -> list[Waveform]:
    flacs = re.findall(r'"([A-Za-z0-9+/=]+)"', script.read_text())
    assert flacs
    tracks = [soundfile.read(io.BytesIO(base64.b64decode(flac)), dtype="float32", always_2d=True) for flac in flacs]
    assert {sample_rate for _, sample_rate in tracks} == {SAMPLE_RATE}
    return [samples.T for samples, _ in tracks]


def test_what_is_played_is_what_was_given(folder: Path) -> None:
    for number, excerpt in enumerate(EXCERPTS, 1):
        tracks = decoded(folder / "listening" / f"excerpt-{number}.js")
        for track, played in zip(excerpt.tracks, tracks, strict=True):
            assert played.shape == track.waveform.shape
            np.testing.assert_allclose(played, track.waveform, atol=0.5 / 32768 + 1e-7, rtol=0)


def test_tracks_that_would_clip_are_made_quieter_together(tmp_path: Path) -> None:
    tracks = tuple(Track(f"{amplitude}", sine(1000, amplitude), 0.0) for amplitude in (2.0, 0.5))
    write_listening([Excerpt("Song", "", "", 0, tracks)], tmp_path)
    loud, quiet = decoded(tmp_path / "excerpt-1.js")
    np.testing.assert_allclose(loud, sine(1000, 1), atol=1.5 / 32768)
    np.testing.assert_allclose(quiet, sine(1000, 0.25), atol=1 / 32768)


def test_matched_gains_neither_clip_nor_blow_up_silence() -> None:
    rng = np.random.default_rng(1)
    click = sine(100, 0.1)
    click[:, 0] = 0.9
    tracks = [
        Track("reference", sine(1000, 0.9), None),
        Track("click", click, 0.0),
        Track("noise", rng.normal(0, 0.1, click.shape).astype(np.float32), 0.0),
    ]
    gains = matched_gains(tracks)
    levels = [rms(track.waveform) * gain for track, gain in zip(tracks, gains, strict=True)]
    assert levels == pytest.approx([levels[0]] * 3, rel=1e-3)
    peaks = [np.abs(track.waveform).max() * gain for track, gain in zip(tracks, gains, strict=True)]
    assert max(peaks) == pytest.approx(1, abs=1e-4)
    reference, silent, faint = (Track("", sine(100, amplitude), None) for amplitude in (0.2, 0.0, 0.2e-3))
    assert matched_gains([reference, silent]) == [1, 1]
    assert matched_gains([silent, reference]) == [1, 1]
    assert matched_gains([reference, faint])[1] == pytest.approx(10 ** (30 / 20))


def test_tracks_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Excerpt("Song", "", "", 0, (Track("a", sine(100, 1), None), Track("b", sine(100, 1)[:, 1:], 0.0)))


@pytest.mark.parametrize("prefix", ["listening/", "demo/listening/"])
def test_the_html_names_the_files_that_are_written(folder: Path, prefix: str) -> None:
    html = listening_html(EXCERPTS, prefix)
    named = re.findall(r'(?:src|data-audio)="([^"]+)"', html)
    assert {name.removeprefix(prefix) for name in named} == {file.name for file in (folder / "listening").iterdir()}
    assert all(name.startswith(prefix) for name in named)


def test_scores_are_shown(page: Page) -> None:
    assert page.locator(".usdr").all_inner_texts() == ["−1.50 dB", "", "–", "3.21 dB", "0.00 dB", "", "∞ dB"]
    expect(page.locator(".excerpt").first).to_contain_text(f"{SONG}")
    expect(page.locator(".excerpt").first).to_contain_text("1:23 to 1:25 of the song")


def test_it_plays_and_its_cursors_follow(page: Page) -> None:
    assert state(page)["playing"] is False
    assert page.evaluate("tap.analyser") is None
    play(page)
    first = state(page)["position_s"]
    wait(page, 0.2)
    position, expected = page.evaluate(
        "duration => [listening.players[0].state().position_s,"
        " (tap.analyser.context.currentTime - tap.starts[0].when) % duration]",
        DURATION_S,
    )
    assert position == pytest.approx(expected)
    assert first != position
    page.get_by_role("button", name=f"Pause {SONG}").click()
    at = state(page)["position_s"] / DURATION_S
    pictures = page.locator(".excerpt").first.locator(".picture")
    lefts = pictures.evaluate_all(
        "all => all.map(picture => [picture, picture.querySelector('.cursor')].map(e => e.getBoundingClientRect()))"
        ".map(([of, cursor]) => (cursor.left + cursor.width / 2 - of.left) / of.width)"
    )
    assert lefts == pytest.approx([at] * len(EXCERPTS[0].tracks), abs=0.005)


def test_only_the_chosen_track_sounds_and_all_started_together(page: Page) -> None:
    play(page)
    for name, (frequency, _) in SINES.items():
        choose(page, name)
        samples = heard(page)
        assert frequency_hz(samples) == pytest.approx(frequency, abs=SAMPLE_RATE / HEARD_SAMPLES)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        others = [
            spectrum[round(other * HEARD_SAMPLES / SAMPLE_RATE)] for other, _ in SINES.values() if other != frequency
        ]
        assert max(others) < 0.001 * spectrum.max()
        now = state(page)
        assert now["selected"] == name
        assert [gain > 1e-6 for gain in now["gains"]] == [track.name == name for track in EXCERPTS[0].tracks]
    choose(page, "silent")
    assert np.abs(heard(page)).max() < 1e-6
    starts = page.evaluate("tap.starts")
    assert len(starts) == len(EXCERPTS[0].tracks)
    assert len({(start["when"], start["offset"]) for start in starts}) == 1
    assert all(start["when"] > start["now"] for start in starts)
    assert starts[0]["when"] == now["started_at"]


def test_switching_leaves_no_gap_and_no_click(page: Page) -> None:
    play(page)
    heard(page)
    choose(page, "reference")
    level = rms(heard(page))
    wait(page, 0.8)
    switched = np.array(page.evaluate(SWITCH, "train_full"))
    assert frequency_hz(switched[:2048]) == pytest.approx(1000, abs=25)
    assert frequency_hz(switched[-2048:]) == pytest.approx(3500, abs=25)
    by_5_ms = [rms(part) for part in np.array_split(switched, len(switched) // 220)]
    assert min(by_5_ms) > 0.6 * level
    steepest = 2 * np.pi * 3500 / SAMPLE_RATE * level * math.sqrt(2)
    assert np.abs(np.diff(switched)).max() < 1.2 * steepest


def test_levels_are_matched_unless_told_otherwise(page: Page) -> None:
    play(page)
    for matched in (True, False):
        page.get_by_role("checkbox", name=f"Match levels of {SONG}").set_checked(matched)
        for name, (_, amplitude) in SINES.items():
            choose(page, name)
            expected = SINES["reference"][1] if matched else amplitude
            assert rms(heard(page)) == pytest.approx(expected / math.sqrt(2), rel=0.01)


def test_it_loops(page: Page) -> None:
    play(page)
    wait(page, 1.5 * DURATION_S)
    now = state(page)
    assert now["playing"] and 0 <= now["position_s"] < DURATION_S
    assert rms(heard(page)) == pytest.approx(SINES["reference"][1] / math.sqrt(2), rel=0.02)
    assert len(page.evaluate("tap.starts")) == len(EXCERPTS[0].tracks)


@pytest.mark.parametrize("while_playing", [True, False])
def test_without_loop_it_ends_at_the_beginning(page: Page, while_playing: bool) -> None:
    loop = page.get_by_role("checkbox", name=f"Loop {SONG}")
    if while_playing:
        play(page)
        loop.uncheck()
    else:
        loop.uncheck()
        play(page)
    page.wait_for_function("!listening.players[0].state().playing")
    assert page.evaluate("tap.analyser.context.currentTime - tap.starts[0].when") >= DURATION_S
    assert state(page)["position_s"] == 0
    expect(page.get_by_role("button", name=f"Play {SONG}")).to_be_visible()
    assert np.abs(heard(page)).max() < 1e-6


def test_pause_keeps_the_position(page: Page) -> None:
    play(page)
    wait(page, 0.3)
    page.get_by_role("button", name=f"Pause {SONG}").click()
    paused = state(page)
    assert not paused["playing"] and paused["position_s"] > 0
    assert np.abs(heard(page)).max() < 1e-6
    assert state(page)["position_s"] == paused["position_s"]
    play(page)
    assert page.evaluate("tap.starts.at(-1).offset") == paused["position_s"]


def test_a_click_on_a_spectrogram_seeks_and_chooses(page: Page) -> None:
    picture = page.locator(".picture >> nth=3")
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": box["width"] * 0.75, "y": 5})
    assert state(page)["selected"] == "train_full"
    assert state(page)["position_s"] == pytest.approx(0.75 * DURATION_S, abs=0.02)
    play(page)
    assert page.evaluate("tap.starts.at(-1).offset") == pytest.approx(0.75 * DURATION_S, abs=0.02)
    page.locator(".picture >> nth=2").click(position={"x": box["width"] * 0.25, "y": 5})
    assert page.evaluate("tap.starts.at(-1).offset") == pytest.approx(0.25 * DURATION_S, abs=0.02)
    assert len({start["when"] for start in page.evaluate("tap.starts")[len(EXCERPTS[0].tracks) :]}) == 1
    assert frequency_hz(heard(page)) == pytest.approx(SINES["initial"][0], abs=6)


def test_the_keyboard_does_all_of_it(page: Page) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("listening.players[0].state().playing")
    page.keyboard.press("Space")
    assert not state(page)["playing"]
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert state(page)["position_s"] == 0
    page.keyboard.press("ArrowRight")
    assert 0 < state(page)["position_s"] < DURATION_S / 2
    page.get_by_role("radio", name="mixture").focus()
    page.keyboard.press("ArrowDown")
    assert state(page)["selected"] == "reference"
    page.keyboard.press("4")
    assert state(page)["selected"] == "train_full"
    page.keyboard.press("9")
    assert state(page)["selected"] == "train_full"
    page.get_by_role("radio", name="train_full").focus()
    page.keyboard.press("Space")
    page.wait_for_function("listening.players[0].state().playing")
    assert frequency_hz(heard(page)) == pytest.approx(SINES["train_full"][0], abs=6)


def test_one_player_at_a_time(page: Page) -> None:
    play(page)
    wait(page, 0.2)
    play(page, "Francium", 1)
    assert [state(page, player)["playing"] for player in (0, 1)] == [False, True]
    assert state(page)["position_s"] > 0
    expect(page.get_by_role("button", name=f"Play {SONG}")).to_be_visible()
    assert frequency_hz(heard(page)) == pytest.approx(6000, abs=6)


def test_a_press_while_loading_takes_back_the_first(page: Page) -> None:
    page.evaluate("document.querySelectorAll('.play').forEach(button => button.click())")
    page.wait_for_function("listening.players[1].state().playing")
    assert not state(page)["playing"]
    page.evaluate("for (let presses = 0; presses < 3; presses++) document.querySelector('.play').click()")
    page.wait_for_function("listening.players[0].state().playing")
    assert frequency_hz(heard(page)) == pytest.approx(SINES["mixture"][0], abs=6)
    assert len(page.evaluate("tap.starts")) == sum(len(excerpt.tracks) for excerpt in EXCERPTS)


def test_audio_is_not_loaded_before_it_is_wanted(page: Page) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(Path(request.url).name))
    page.reload()
    assert not [name for name in loaded if name.endswith(".js")]
    play(page)
    page.get_by_role("button", name=f"Pause {SONG}").click()
    play(page)
    assert [name for name in loaded if name.endswith(".js")] == ["excerpt-1.js"]


def test_missing_audio_is_told(browser: Browser, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes((folder / "index.html").read_bytes())
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    for _ in range(2):
        page.get_by_role("button", name=f"Play {SONG}").click()
        expect(page.locator("[role=status]").first).to_contain_text("cannot be loaded")
        expect(page.get_by_role("button", name=f"Play {SONG}")).to_be_visible()
    page.close()


def test_every_control_has_a_name_of_its_own(page: Page) -> None:
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = [
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"] and is_focusable(node) and node["role"]["value"] != "RootWebArea"
    ]
    n_tracks = sum(len(excerpt.tracks) for excerpt in EXCERPTS)
    assert len(controls) == n_tracks + 4 * len(EXCERPTS) == len(set(controls))
    assert all(any(excerpt.song in name for excerpt in EXCERPTS) for _, name in controls)
    assert page.locator(".cursor:not([aria-hidden=true])").count() == 0


def is_focusable(node: dict[str, Any]) -> bool:
    return any(prop["name"] == "focusable" and prop["value"]["value"] for prop in node.get("properties", []))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(browser: Browser, folder: Path, scheme: str) -> None:
    with quiet_page(browser, viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        page.goto((folder / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("img").evaluate_all("all => all.every(image => image.naturalWidth > 0)")
        heights = page.locator("button, label, [type=range], .picture").evaluate_all(
            "all => all.map(control => control.getBoundingClientRect().height)"
        )
        assert min(heights) >= 44


def test_the_cursor_moves_in_steps_where_motion_is_not_wanted(browser: Browser, folder: Path) -> None:
    with quiet_page(browser, reduced_motion="reduce") as page:
        page.add_init_script(TAP)
        page.goto((folder / "index.html").as_uri())
        page.evaluate(
            "{ const {style} = document.querySelector('.excerpt'); moves = new Set(); began = performance.now();"
            " new MutationObserver(() => moves.add(style.getPropertyValue('--at')))"
            ".observe(document.querySelector('.excerpt'), {attributes: true}) }"
        )
        play(page)
        wait(page, DURATION_S / 2)
        moves, elapsed_s = page.evaluate("[moves.size, (performance.now() - began) / 1000]")
        assert 1 <= moves <= 3 + 2 * elapsed_s
