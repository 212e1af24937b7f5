"""Look of the charts: panels."""

import altair as alt
import pandas as pd
import pytest

from bench.reporting import look
from bench.reporting.training.partitions import MEASURES, heat_map

CONDITIONS = ["iid, 4 workers", "iid, 16 workers", "iid, 128 workers"]


def test_panels_follow_the_order_of_the_data() -> None:
    frame = pd.DataFrame({"condition": [*CONDITIONS, CONDITIONS[0]], "x": range(4)})
    dots = alt.Chart().mark_point().encode(x="x:Q")
    for result in (look.panels(dots, frame, 100), look.rows(dots, frame)):
        assert result.to_dict()["facet"]["sort"] == CONDITIONS


@pytest.mark.parametrize(
    ("panels", "partitions", "columns"), [(4, 3, 2), (3, 3, 1), (4, 4, 1), (2, 1, 2)]
)
def test_narrow_heat_maps_are_side_by_side(panels: int, partitions: int, columns: int) -> None:
    frame = pd.DataFrame(
        [
            {"panel": f"{i} workers", "partition": f"p{j}", "algorithm": "ring", "value": 1.0}
            | {"shade": 1.0, "text": "1", "bold": "", "low": 1.0, "high": 1.0, "runs": 1}
            for i in range(panels)
            for j in range(partitions)
        ]
    )
    result = heat_map(frame, MEASURES["mean"]).to_dict()
    assert result["columns"] == columns
    width = result["spec"]["width"]["step"] * partitions * columns
    assert width <= look.WIDTH - 200
