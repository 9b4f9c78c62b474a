"""Writes the Parquet files beside it: a log of six events in columns of every type that databases
write, in lists, and with times of 96 bits.

Run beside this file: python parquet_types.py (pyarrow 26).
"""

import datetime
import decimal
import json
import struct
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

SESSIONS = [9, 10, 9, 9, 10, 9]
SECONDS = [1396867869, 1396867861, 1396867860, 1396867860, 1396867861, 1396867860]
ITEMS = [30, 4, 4, 30, 5, 4]
MISSING = 4  # row of the missing item
NAMES = ["session", "time", "item"]


def decimals(values, precision, scale, of=pa.decimal128):
    return pa.array([None if v is None else decimal.Decimal(v) for v in values], of(precision, scale))


def uuids(values):
    return [uuid.UUID(int=v).bytes for v in values]


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, row_group_size=4, compression="zstd", **options)


def types():
    moments = [datetime.datetime.fromtimestamp(s, datetime.timezone.utc) for s in SECONDS]
    texts = [f"sku-{i}" for i in ITEMS]
    return {
        "session": pa.array(SESSIONS, pa.int64()),
        "time": pa.array(SECONDS, pa.int64()),
        "item": pa.array(ITEMS, pa.int64()),
        # Readable in some role.
        "session_decimal": decimals(SESSIONS, 38, 0),
        "session_uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(uuids(SESSIONS), pa.binary(16))),
        "session_bytes16": pa.array(uuids(SESSIONS), pa.binary(16)),
        "item_decimal": decimals(ITEMS, 10, 2),
        "item_wide": decimals([i + 2**64 for i in ITEMS], 38, 0),
        "item_widest": decimals(ITEMS, 50, 2, pa.decimal256),
        "item_float": pa.array(ITEMS, pa.float64()),
        "item_float32": pa.array(ITEMS, pa.float32()),
        "item_binary": pa.array([t.encode() for t in texts], pa.binary()),
        "item_large_binary": pa.array([t.encode() for t in texts], pa.large_binary()),
        "item_fixed_text": pa.array([f"{i:03}".encode() for i in ITEMS], pa.binary(3)),
        "item_dictionary": pa.array(texts).dictionary_encode(),
        "item_missing": pa.array([None if i == MISSING else v for i, v in enumerate(ITEMS)], pa.int64()),
        "item_nan": pa.array([float("nan") if i == MISSING else v for i, v in enumerate(ITEMS)], pa.float64()),
        "time_decimal": decimals([f"{s}.25" for s in SECONDS], 20, 6),
        "time_zone": pa.array(moments, pa.timestamp("us", "Europe/Berlin")),
        "time_nanos": pa.array(moments, pa.timestamp("ns")),
        "time_seconds": pa.array(moments, pa.timestamp("s")),
        "time_date64": pa.array(moments, pa.date64()),
        # Readable in no role.
        "price": decimals(["9.99"] * 6, 10, 2),
        "bytes": pa.array([b"\xff\x00"] * 6, pa.binary()),
        "half": pa.array([1.5] * 6, pa.float16()),
        "clock32": pa.array([datetime.time(1, 2)] * 6, pa.time32("ms")),
        "clock64": pa.array([datetime.time(1, 2)] * 6, pa.time64("us")),
        "duration": pa.array([1] * 6, pa.duration("ms")),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array([json.dumps({})] * 6)),
        "map": pa.array([[("a", 1)]] * 6, pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"a": 1, "b": 2}] * 6),
        "lists_of_structs": pa.array([[{"a": 1}]] * 6),
        "lists_of_lists": pa.array([[[1]]] * 6),
        "pair": pa.array([[1.0, 2.0]] * 6, pa.list_(pa.float32(), 2)),
        "nothing": pa.nulls(6),
        "flag": pa.array([True] * 6),
    }


def lists():
    return {
        "session": pa.array([9, 10, 11, 12], pa.int64()),
        "items": pa.array([[4, 30, 4, 30], [4, 5], [], None], pa.list_(pa.int64())),
        "times": pa.array(
            [[1396867860, 1396867860, 1396867860, 1396867869], [1396867861, 1396867861], [], None],
            pa.list_(pa.int64()),
        ),
        "kinds": pa.array([["buy", "view", "view", "view"], ["view", "view"], [], None]),
        "time": pa.array([1396867860, 1396867861, 0, 0], pa.int64()),
        "uneven": pa.array([["buy", "view", "view", "view"], ["view"], [], None]),
        "large_items": pa.array([[4, 30, 4, 30], [4, 5], [], None], pa.large_list(pa.int32())),
        "decimal_items": pa.array(
            [[decimal.Decimal(i) for i in row] for row in ([4, 30, 4, 30], [4, 5], [], [])],
            pa.list_(pa.decimal128(38, 0)),
        ),
        "uuid_items": pa.array([uuids(row) for row in ([4, 30, 4, 30], [4, 5], [], [])], pa.list_(pa.binary(16))),
        "text_items": pa.array([["a", "b", "a", "b"], ["a", None], [], []]),
    }


write("parquet_types.parquet", types())
write(
    "parquet_decimals.parquet",
    {
        "session": decimals(SESSIONS, 9, 0),
        "time": decimals(SECONDS, 18, 0),
        "item": decimals([-i for i in ITEMS], 12, 3),
    },
    store_decimal_as_integer=True,
    data_page_version="2.0",
)
write("parquet_lists.parquet", lists())
old = [datetime.datetime(1, 1, 1)] + [datetime.datetime(2014, 4, 7)] * 2
write(
    "parquet_int96.parquet",
    {
        "session": pa.array([1, 1, 2], pa.int64()),
        "item": pa.array([1, 2, 3], pa.int64()),
        "time": pa.array([datetime.datetime(2014, 4, 7, 10, 51, s) for s in (9, 0, 1)], pa.timestamp("us")),
        "old": pa.array(old, pa.timestamp("us")),
    },
    use_deprecated_int96_timestamps=True,
)


def of_new_type(path, json_path, logical_type):
    """Copies a file with a column of JSON, whose logical type becomes another, that pyarrow does not
    write."""
    data = open(json_path, "rb").read()
    (length,) = struct.unpack("<I", data[-8:-4])
    body, footer = data[: -8 - length], data[-8 - length : -8]
    json_type, other = b"\xcc\x00\x00", bytes([0x0C, 2 * logical_type, 0, 0])
    assert footer.count(json_type) == 1
    footer = footer.replace(json_type, other)
    # The order of the columns, newer too: type-defined becomes the one numbered 9.
    assert footer.count(b"\x1c\x00\x00") == 4
    footer = footer.replace(b"\x1c\x00\x00", b"\x9c\x00\x00")
    open(path, "wb").write(body + footer + struct.pack("<I", len(footer)) + b"PAR1")


columns = types()
write("parquet_geometry.parquet", {name: columns[name] for name in [*NAMES, "json"]})
of_new_type("parquet_geometry.parquet", "parquet_geometry.parquet", 17)
