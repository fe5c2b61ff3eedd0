"""The report as a page: one folder that needs no network, made from tables, drawings, verdicts and excerpts."""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, cast

from ruamel.yaml import YAML

from vocalremix.report.figures import Drawing
from vocalremix.report.listening import TEMPLATES, Excerpt, asset, listening_html
from vocalremix.report.questions import Question
from vocalremix.report.study import THESIS_METRICS, Study
from vocalremix.report.table import Table

TEMPLATES.globals.update(zip=zip, asset=asset)
LISTENING = "listening/"
"""The folder of the page's audio and spectrograms, beside the page."""
SHOWN = ("git.commit", "dvc.experiment", "profile")
"""What the page says of where it comes from."""
LISTENING_RULE = (
    "Excerpts of the songs with the largest, the median and the smallest gain in whole-song uSDR from the initial "
    "checkpoint to train_full; of each, the salient window where the target is loudest. All versions play in step; "
    "choosing another switches without a gap."
)


def study_page(
    study: Study,
    questions: Sequence[Question],
    tables: Sequence[Table],
    drawings: Sequence[Drawing],
    excerpts: Sequence[Excerpt],
    provenance: Mapping[str, str],
    assets: str = "",
) -> str:
    """The HTML of a study's report; `assets` is where its folder lies as seen from the page ("" or "demo/")."""
    params = study.settings.params
    return render(
        "study.html.j2",
        contents=[
            ("verdicts", "Verdicts"),
            *([("listen", "Listen")] if excerpts else []),
            ("figures", "Figures"),
            ("tables", "Tables"),
            ("rebuild", "Rebuild it"),
        ],
        target=params.target,
        profile=params.profile,
        facts=_facts(study),
        answers=questions,
        drawings=drawings,
        tables=tables,
        excerpts=excerpts,
        listening=listening_html(excerpts, f"{assets}{LISTENING}"),
        listening_rule=LISTENING_RULE,
        commands=_commands(provenance),
        parameters=_parameters(study),
        provenance=[(name, provenance[name]) for name in SHOWN if provenance.get(name)],
    )


def render(template: str, **content: Any) -> str:
    """A page from a template of this package, with the listening player's style and script."""
    return TEMPLATES.get_template(template).render(**content)


def _facts(study: Study) -> list[tuple[str, str]]:
    """What the study rests on, in numbers."""
    runs = [study.initial, study.overfit, *study.cells.values(), study.train, study.train_full]
    hours = sum(float(run.metadata.get("device_hours", 0)) for run in runs)
    costs = [float(run.metadata["cost"]) for run in runs if "cost" in run.metadata]
    metadata = study.train.metadata
    scores = study.initial.scores
    n_nan = int(scores.windows[[metric.of_window for metric in THESIS_METRICS]].isna().any(axis=1).sum())
    return [
        ("Test songs", str(len(scores.songs))),
        ("Test windows", f"{len(scores.windows)}" + (f" ({n_nan} undefined)" if n_nan else "")),
        ("Training songs", str(metadata["n_train_songs"])),
        ("Trainings in the sweep", str(len(study.cells))),
        ("Seeds", str(len(study.settings.params.sweep.values("seed")))),
        (_devices(study), _duration(hours)),
        *([("Cost", f"{sum(costs):.2f}")] if costs else []),
    ]


def _devices(study: Study) -> str:
    return "Trainings, on GPUs" if study.train.metadata.get("accelerator") == "cuda" else "Trainings, on CPUs"


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _commands(provenance: Mapping[str, str]) -> str:
    commit = provenance.get("git.commit", "").removesuffix("-dirty")
    experiment = provenance.get("dvc.experiment", "")
    lines = [f"git checkout {commit}"] if commit not in ("", "unknown") else []
    if provenance.get("git.commit", "").endswith("-dirty"):
        lines += ["# without the changes to the code that were not committed when this report was made"]
    lines += [f"dvc exp apply {experiment}"] if experiment else []
    return "\n".join([*lines, "# with the parameters below in params.yaml and profiles/", "make repro"])


def _parameters(study: Study) -> str:
    """params.yaml and the profile as they were in force, defaults included."""
    params, profile = study.settings.params, study.settings.profile
    parts = {"params.yaml": params, f"profiles/{params.profile}.yaml": profile}
    text, writer = StringIO(), cast(Any, YAML(typ="safe"))
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = None, False
    for name, part in parts.items():
        text.write(f"# {name}\n")
        writer.dump(part.model_dump(mode="json"), text)
        text.write("\n")
    return text.getvalue().removesuffix("\n")
