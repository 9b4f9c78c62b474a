"""The protocol's preprocessing of a raw log that no single machine holds, on Spark.

Reads RC15 or RetailRocket as many CSV files or as partitioned Parquet, drops short sessions and rare items, and writes
Parquet that `prl prepare --source parquet` reads: columns session, time, item, event (click or purchase). The one design
decision: the log is shuffled once, by a hash of the session, and stays so. A session is whole in one file, each file is in
the order of (session, time) with ties as in the raw log, and the set of items, which must fit a machine to be learned
from, is broadcast to the events instead of the other way round.
"""

import argparse
import sys

from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

RC15_CLICKS = ["session", "timestamp", "item", "category"]
RC15_BUYS = ["session", "timestamp", "item", "price", "quantity"]
RETAILROCKET = ["timestamp", "visitorid", "event", "itemid", "transactionid"]
FILES = {"csv": "*.{csv,tsv,txt,dat}{,.gz}", "parquet": "*.{parquet,pq}"}
MARK = "SYNTHETIC.json"


class Refused(Exception):
    """Input that cannot be prepared: what is wrong and how to mend it."""


def read(spark, path, form, names, header=False):
    """The rows at a path, each with its position in the raw log.

    Rows of one block of a file are read in their order, and only there do their numbers rise by it."""
    reader = spark.read.option("pathGlobFilter", FILES[form]).option("recursiveFileLookup", True)
    if form == "csv":
        reader = reader.option("mode", "FAILFAST").option("enforceSchema", False).option("header", header)
        reader = reader if header else reader.schema(", ".join(f"{name} STRING" for name in names))
    rows = reader.load(path, format=form)
    if not rows.inputFiles():
        raise Refused(f"{path}: no file here is named {FILES[form]}; name the folder that holds the log, or --format")
    # Prices and categories are part of the text's shape, and of nothing else.
    needed = [name for name in names if name not in ("category", "price", "quantity")]
    missing = [name for name in needed if name not in rows.columns]
    if missing:
        raise Refused(f"{path}: no column {', '.join(missing)}; the columns are {', '.join(rows.columns)}")
    place = [F.col("_metadata.file_path").alias("path"), F.col("_metadata.file_block_start").alias("block")]
    return rows.select(*needed, *place, F.monotonically_increasing_id().alias("row"))


def whole(name):
    """A column of ids: whole numbers from 0."""
    value = F.col(name).cast("bigint")
    return F.when(value >= 0, value).otherwise(refuse(name, "a whole number from 0"))


def refuse(name, expected):
    """Ends the job at a value that is not what its column must hold."""
    found = F.coalesce(F.col(name).cast("string"), F.lit("nothing"))
    return F.raise_error(F.concat(F.lit(f"column {name}: expected {expected}, found "), found))


def rc15(spark, args):
    """Clicks, and buys as further events: at equal times after the clicks."""

    def events(path, names, event, turn):
        rows = read(spark, path, args.format, names)
        time = F.coalesce(F.col("timestamp").cast("timestamp"), refuse("timestamp", "a time"))
        columns = [whole("session").alias("session"), time.alias("time"), whole("item").alias("item")]
        return rows.select(*columns, F.lit(event).alias("event"), F.lit(turn).alias("turn"), "path", "block", "row")

    return events(args.clicks, RC15_CLICKS, "click", 0).union(events(args.buys, RC15_BUYS, "purchase", 1))


def retailrocket(spark, args):
    """Views and what was added to the cart, without the rows that have a transactionid."""
    rows = read(spark, args.input, args.format, RETAILROCKET, header=True)
    rows = rows.where(F.coalesce(F.col("transactionid").cast("string"), F.lit("")) == "")
    time = F.coalesce(F.timestamp_millis(F.col("timestamp").cast("bigint")), refuse("timestamp", "milliseconds"))
    event = F.when(F.col("event") == "view", "click").when(F.col("event") == "addtocart", "purchase")
    event = event.otherwise(refuse("event", "view, addtocart or, with a transactionid, transaction"))
    columns = [whole("visitorid").alias("session"), time.alias("time"), whole("itemid").alias("item")]
    return rows.select(*columns, event.alias("event"), F.lit(0).alias("turn"), "path", "block", "row")


def keep(events, counted, least_session, least_item, partitions):
    """Drops the sessions, then the items, of fewer counted events; one pass each. Partitioned by session."""
    counted = F.count(F.when(counted, True))
    sizes = counted.over(Window.partitionBy("session"))
    kept = events.repartition(partitions, "session").withColumn("size", sizes).where(F.col("size") >= least_session)
    # The items are counted over what is kept, which is then read again: from a disk, not from the raw log.
    kept = kept.drop("size").persist(StorageLevel.DISK_ONLY)
    items = kept.groupBy("item").agg(counted.alias("size")).where(F.col("size") >= least_item).select("item")
    return kept.join(F.broadcast(items), "item", "left_semi")


def pass_mark(spark, paths, out):
    """Marks what is made of a made-up log, as `prl synth` marked that."""
    jvm, conf = spark.sparkContext._jvm, spark.sparkContext._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path
    for folder in (folder for given in map(path, paths) for folder in (given, given.getParent()) if folder):
        mark = path(folder, MARK)
        files = mark.getFileSystem(conf)
        if files.exists(mark):
            to = path(out, MARK)
            jvm.org.apache.hadoop.fs.FileUtil.copy(files, mark, to.getFileSystem(conf), to, False, conf)
            return


def arguments():
    parser = argparse.ArgumentParser(description="Filter a raw log by the protocol, on Spark, for prl prepare")
    logs = parser.add_subparsers(dest="log", required=True, metavar="rc15|retailrocket")
    log = logs.add_parser("rc15", help="sessions with more than two clicks, and their buys")
    log.add_argument("--clicks", required=True, metavar="PATH", help="a file or folder: session, timestamp, item")
    log.add_argument("--buys", required=True, metavar="PATH", help="the same of the buys")
    log = logs.add_parser("retailrocket", help="visitors with more than two events, then items with more than two")
    log.add_argument("--input", required=True, metavar="PATH", help="a file or folder with RetailRocket's columns")
    for log in logs.choices.values():
        log.add_argument("--format", choices=sorted(FILES), default="csv", help="what the log is stored as [csv]")
        log.add_argument("--partitions", type=int, default=64, metavar="N", help="files to write, sessions whole [64]")
        log.add_argument("--out", required=True, metavar="DIR", help="a folder that does not exist yet")
    args = parser.parse_args()
    if args.partitions < 1:
        parser.error("--partitions must be at least 1")
    return args


def main():
    args = arguments()
    spark = SparkSession.builder.appName("prl-prepare").getOrCreate()
    spark.conf.set("spark.sql.ansi.enabled", True)  # a value that does not parse is an error
    spark.conf.set("spark.sql.csv.parser.columnPruning.enabled", False)  # and so is a row of other length
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    try:
        if args.log == "rc15":
            kept = keep(rc15(spark, args), F.col("event") == "click", 3, 1, args.partitions)
            paths = [args.clicks, args.buys]
        else:
            kept = keep(retailrocket(spark, args), F.lit(True), 3, 3, args.partitions)
            paths = [args.input]
        ordered = kept.sortWithinPartitions("session", "time", "turn", "path", "block", "row")
        ordered.select("session", "time", "item", "event").write.parquet(args.out)
        pass_mark(spark, paths, args.out)
    except (Refused, PySparkException) as error:
        # What Java adds below the first lines are its frames.
        sys.exit(f"error: {str(error).split('JVM stacktrace:')[0].strip()}")
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
