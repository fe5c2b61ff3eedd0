"""MUSDB18-HQ as it was published: its songs by part, and how many windows of each have salient vocals.

The official split, with the 14 validation songs of the musdb package (`configs/mus.yaml`) taken out of train. The
windows are the lines of the thesis's published index, which `sad.salient_starts` with its defaults reproduces: 5,239 in
train, 764 in valid and 2,772 in test.
"""

import json
from pathlib import Path

SALIENT_WINDOWS: dict[str, dict[str, int]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

# sigsep.github.io/datasets/musdb.html, errata: "sum of sources does not add up to the mix for the left channel"
MIXTURE_ERRATA = {"PR - Oh No"}
