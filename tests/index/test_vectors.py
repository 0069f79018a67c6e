import numpy as np
import pytest

from index.errors import VectorError
from index.vectors import F32, require_unit_rows
from tests.index.people import faces


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(faces(3, 0), id="three"),
        pytest.param(np.empty((0, 16), np.float32), id="none"),
        pytest.param(faces(6, 0)[::2], id="strided"),
        pytest.param(faces(1, 0) * np.float32(1.0005), id="rounded"),
    ],
)
def test_unit_rows_pass(rows: F32) -> None:
    passed = require_unit_rows("probes", rows, 16)
    np.testing.assert_array_equal(passed, rows)
    assert passed.flags.c_contiguous


def _with(value: float) -> F32:
    rows = faces(3, 0)
    rows[1, 4] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(
            faces(2, 0)[:, :8], r"expected shape \(any, 16\) float32, got shape \(2, 8\) float32", id="narrow"
        ),
        pytest.param(faces(1, 0)[0], r"got shape \(16,\) float32", id="flat"),
        pytest.param(faces(2, 0).astype(np.float64), r"got shape \(2, 16\) float64", id="double"),
        pytest.param(_with(np.nan), r"shape \(3, 16\) float32; row 1 has NaN or infinity", id="nan"),
        pytest.param(_with(np.inf), "row 1 has NaN or infinity", id="infinity"),
        pytest.param(_with(3e38), "row 1 has length 3e", id="huge"),
        pytest.param(faces(2, 0) * np.float32(1.01), "row 0 has length 1.01: L2-normalise", id="long"),
        pytest.param(np.zeros((1, 16), np.float32), "row 0 has length 0", id="zero"),
    ],
)
def test_other_rows_are_refused(rows: F32, says: str) -> None:
    with pytest.raises(VectorError, match=f"probes: .*{says}"):
        require_unit_rows("probes", rows, 16)
