"""Arrow arrays without pandas are those of pyarrow."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from orcinus.runs.columns import array_of, numbers_of, table_of

TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
COLUMNS = [
    (["a", None, "", "größer 日本"], pa.string()),
    (["plain", "text"], pa.string()),
    ([b"bytes", "text"], pa.string()),
    ([], pa.string()),
    ([None, None], pa.string()),
    ([["A", "ä"], [], None, [None, "B"]], pa.list_(pa.string())),
    ([("A", "B")], pa.list_(pa.string())),
    ([[0.5, -1.25], None], pa.list_(pa.float32())),
    ([[{"role": "user", "content": "Ja?"}], [], [{"role": "user"}] * 2], TURNS),
    ([[{"role": "user", "content": "Ja?"}, None]], TURNS),
    ([1, None, -(2**31)], pa.int32()),
    ([2**62, 0, None], pa.int64()),
    ([0.1, None, float("inf")], pa.float64()),
    ([1, 0.5, None], pa.float64()),
    ([True, 0.5], pa.float64()),
    (["ab"], pa.list_(pa.string())),
    ([True, None, False] * 5, pa.bool_()),
    (np.array([1, 2]), pa.int64()),
]


@pytest.mark.parametrize(("values", "kind"), COLUMNS)
def test_an_array_is_that_of_pyarrow(values: list[object], kind: pa.DataType) -> None:
    found = array_of(values, kind)
    found.validate(full=True)
    assert found.equals(pa.array(values, kind))
    assert found.null_count == pa.array(values, kind).null_count


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1], pa.string()),
        (["a"], pa.int64()),
        ([2**40], pa.int32()),
        ([2**60 + 1], pa.float64()),
    ],
)
def test_a_wrong_value_is_refused_as_pyarrow_refuses_it(
    values: list[object], kind: pa.DataType
) -> None:
    with pytest.raises((pa.ArrowException, OverflowError)) as expected:
        pa.array(values, kind)
    with pytest.raises(expected.type):
        array_of(values, kind)


def test_numbers_are_taken_from_numpy() -> None:
    for values in (np.arange(5, dtype=np.uint8)[::2], np.array([True, False] * 9)):
        assert numbers_of(values).equals(pa.array(values))


def test_rows_become_a_table() -> None:
    schema = pa.schema([("a", pa.string()), ("n", pa.int32())])
    rows: list[dict[str, object]] = [{"a": "x", "n": 1}, {"n": 2, "more": 3}]
    assert table_of(rows, schema).equals(pa.Table.from_pylist(rows, schema=schema))


def test_no_pandas_is_imported() -> None:
    code = (
        "import sys, pyarrow as pa; from orcinus.runs.columns import table_of; "
        "t = table_of([{'a': 'x', 'l': ['y'], 'n': 0}], pa.schema([('a', pa.string()), "
        "('l', pa.list_(pa.string())), ('n', pa.int64())])); "
        "t.take(t['n']); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
