"""The view of the sweep in MLflow's UI: its table and charts, ready when the experiment is.

MLflow keeps a view that was saved in its UI as a tag of the experiment, and one that is written here cannot be told
from it. Known from MLflow 3.17; another version may ignore it.
"""

import json
from typing import Any

SWEEP_VIEW = "sweep"
"""The view's key in links: `/#/experiments/<id>/runs?viewStateShareKey=sweep`."""

_METRICS = ("test_usdr_db", "test_usdr_db_ci_low", "test_usdr_db_ci_high", "test_csdr_sisec_db", "best_valid_usdr_db")
_SECTION = "sweep"


def sweep_view() -> dict[str, str]:
    """The experiment's tag that holds the view."""
    columns = ["params.`speech_remix_prob`", "params.`seed`", *(f"metrics.`{name}`" for name in _METRICS)]
    name = "attributes.`Run Name`"
    state = {
        "searchFilter": 'tags.stage = "sweep"',
        "orderByKey": "metrics.`test_usdr_db`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [name, *columns],
        "columnWidths": {column: 140 for column in columns} | {name: 275, "params.`seed`": 60},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {"uuid": _SECTION, "name": "Sweep", "display": True, "isReordered": False, "deleted": False, "columns": 2}
        ],
        "compareRunCharts": [
            _chart(
                "PARALLEL",
                selectedParams=["speech_remix_prob"],
                selectedMetrics=["best_valid_usdr_db", "test_usdr_db"],
                showAllRuns=True,
            ),
            _chart(
                "SCATTER",
                xaxis={"key": "speech_remix_prob", "type": "PARAM"},
                yaxis={"key": "test_usdr_db", "type": "METRIC"},
            ),
            _chart("BAR", metricKey="test_usdr_db"),
            _chart("LINE", metricKey="valid_usdr_db", selectedMetricKeys=["valid_usdr_db"], lineSmoothness=0),
        ],
    }
    view = {"name": SWEEP_VIEW, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    return {f"mlflow.sharedViewState.{SWEEP_VIEW}": json.dumps(view)}


def _chart(kind: str, **options: Any) -> dict[str, Any]:
    common = {"uuid": kind, "type": kind, "metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return common | {"runsCountToCompare": 100} | options
