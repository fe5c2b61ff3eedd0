"""Remixes: each module but base, mixing and registry is one, with a class of the module's name.

The functions on waveforms, `mix_at_snr`, `classic_remix` and `speech_remix`, are in `mixing`, and here too.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vocalremix.remix.mixing import classic_remix, mix, mix_at_snr, peak, speech_remix

__all__ = ["classic_remix", "mix", "mix_at_snr", "peak", "speech_remix"]


def __getattr__(name: str) -> Any:
    # they need torch, which settings are read without
    if name in __all__:
        from vocalremix.remix import mixing

        return getattr(mixing, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
