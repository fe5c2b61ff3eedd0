import pytest
import torch
from torch import Tensor
from torchaudio.functional import add_noise

from vocalremix.remix import classic_remix, mix, mix_at_snr, peak, speech_remix


def noise(channels: int, samples: int, seed: int) -> Tensor:
    return 0.1 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


def snr_db(signal: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(signal.double().square().sum() / other.double().square().sum()))


def test_peak_is_the_largest_absolute_value() -> None:
    assert peak(torch.tensor([[0.5, -0.75], [0.25, 0.0]])) == 0.75


def test_mix_is_the_exact_sum() -> None:
    stems = [torch.full((2, 3), value / 32768) for value in (32767, 32767, -5, 1)]
    assert torch.equal(mix(stems), torch.full((2, 3), (2 * 32767 - 4) / 32768))
    assert torch.equal(stems[0], torch.full((2, 3), 32767 / 32768))


@pytest.mark.parametrize("ratio_db", [-5.0, 0.0, 15.0])
def test_mix_at_snr_agrees_with_torchaudio_on_one_channel(ratio_db: float) -> None:
    signal, other = noise(1, 5000, 1), 3 * noise(1, 5000, 2)
    expected = add_noise(signal, other, torch.tensor([ratio_db]))
    torch.testing.assert_close(mix_at_snr(signal, other, ratio_db), expected, rtol=1e-5, atol=1e-6)


def test_mix_at_snr_counts_both_channels_as_one_signal() -> None:
    signal, other = noise(2, 4000, 3), noise(2, 4000, 4) * torch.tensor([[1.0], [0.01]])
    mixture = mix_at_snr(signal, other, 7.0)
    joined = add_noise(signal.reshape(1, -1), other.reshape(1, -1), torch.tensor([7.0])).reshape(2, -1)
    torch.testing.assert_close(mixture, joined, rtol=1e-5, atol=1e-6)
    assert snr_db(signal, mixture - signal) == pytest.approx(7.0, abs=1e-3)


def test_mix_at_snr_adds_as_it_is_where_there_is_no_ratio() -> None:
    signal, silence = noise(2, 100, 5), torch.zeros(2, 100)
    assert torch.equal(mix_at_snr(signal, silence, 3.0), signal)
    assert torch.equal(mix_at_snr(silence, signal, 3.0), signal)


def test_mix_at_snr_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"signal \(1, 10\) and noise \(2, 10\)"):
        mix_at_snr(torch.zeros(1, 10), torch.zeros(2, 10), 0.0)


def test_classic_remix_keeps_the_target_and_adds_the_others() -> None:
    target, *others = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]) * factor for factor in (1, 10, 100, 1000))
    mixture, kept = classic_remix(target, others)
    assert torch.equal(mixture, torch.tensor([[1111.0, 2222.0], [3333.0, 4444.0]]))
    assert torch.equal(kept, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_published_target_is_the_joined_normalised_speech() -> None:
    accompaniment = noise(2, 7, 6)
    utterances = [torch.tensor([0.1, -0.2, 0.05]), torch.tensor([[0.3, 0.6]]), torch.tensor([0.4, 0.8, 0.8])]
    _, target = speech_remix(accompaniment, utterances, 4.0, "published")
    expected = torch.tensor([0.5, -1.0, 0.25, 0.5, 1.0, 0.5, 1.0])
    torch.testing.assert_close(target, expected.expand(2, -1))


@pytest.mark.parametrize("ratio_db", [-5.0, 3.3, 15.0])
def test_matched_target_is_the_speech_as_heard_in_the_mixture(ratio_db: float) -> None:
    accompaniment, speech = noise(2, 3000, 7), noise(1, 3500, 8)
    mixture, target = speech_remix(accompaniment, [speech], ratio_db)
    rest = mixture - target
    assert peak(mixture) == pytest.approx(1, abs=1e-6)
    assert snr_db(target, rest) == pytest.approx(ratio_db, abs=1e-3)
    gain = float((rest * accompaniment).sum() / accompaniment.square().sum())
    torch.testing.assert_close(rest, gain * accompaniment, rtol=0, atol=1e-6)
    torch.testing.assert_close(target, (speech[:, :3000] * (peak(target) / peak(speech[:, :3000]))).expand(2, -1))


def test_the_scalings_differ_by_the_gain_of_the_mixture_only() -> None:
    accompaniment, speech = noise(2, 3000, 9), noise(1, 3000, 10)
    matched_mixture, matched = speech_remix(accompaniment, speech, 5.0, "matched")
    published_mixture, published = speech_remix(accompaniment, speech, 5.0, "published")
    assert torch.equal(matched_mixture, published_mixture)
    gain = peak(matched)
    assert peak(published) == pytest.approx(1) and gain < 0.95
    torch.testing.assert_close(matched, gain * published)
    assert not torch.allclose(peak(mix_at_snr(published, accompaniment, 5.0)) * published_mixture, published_mixture)


def test_parts_of_utterances_are_normalised_by_the_peaks_of_the_whole() -> None:
    speech, accompaniment = noise(1, 300, 11), noise(2, 120, 12)
    peaks = [peak(speech[:, :150]), peak(speech[:, 150:])]
    _, target = speech_remix(accompaniment, [speech[:, 100:150], speech[:, 150:220]], 0.0, "published", peaks)
    expected = torch.cat([speech[:, 100:150] / peaks[0], speech[:, 150:220] / peaks[1]], dim=1)
    torch.testing.assert_close(target, expected.expand(2, -1))


def test_inputs_stay_as_they_are() -> None:
    accompaniment, speech = noise(2, 50, 13), noise(2, 50, 14)
    copies = accompaniment.clone(), speech.clone()
    speech_remix(accompaniment, speech, 0.0)
    assert torch.equal(accompaniment, copies[0]) and torch.equal(speech, copies[1])


def test_silence_stays_finite() -> None:
    silence, speech = torch.zeros(2, 50), noise(1, 50, 15)
    mixture, target = speech_remix(silence, speech, 5.0)
    assert torch.equal(mixture, target) and peak(mixture) == pytest.approx(1)
    mixture, target = speech_remix(noise(2, 50, 16), torch.zeros(50), 5.0)
    assert peak(target) == 0 and peak(mixture) == pytest.approx(1)
    mixture, target = speech_remix(silence, torch.zeros(50), 5.0)
    assert peak(mixture) == peak(target) == 0


def test_speech_remix_refuses_short_speech_and_unknown_scalings() -> None:
    with pytest.raises(ValueError, match="9 samples of speech for 10"):
        speech_remix(torch.zeros(2, 10), [torch.ones(4), torch.ones(5)], 0.0)
    with pytest.raises(ValueError, match="'both', expected one of"):
        speech_remix(torch.zeros(2, 10), torch.ones(10), 0.0, "both")  # type: ignore[arg-type]
