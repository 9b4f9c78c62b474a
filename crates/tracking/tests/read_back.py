"""Compares what trackers have of a run with its metrics.jsonl, number by number and bit by bit;
in TensorBoard, which has 32-bit floats, with the rounded numbers.

    read_back.py METRICS tensorboard DIR
    read_back.py METRICS mlflow URI RUN_NAME

Prints the number of equal values. Needs tensorboard, or mlflow.
"""

import json
import os
import struct
import sys


def expected(path):
    """Values of metrics.jsonl by name: a list of (step, value)."""
    found = {}

    def collect(step, name, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(step, f"{name}/{key}", inner)
        elif value is not None:
            found.setdefault(name.replace("@", "_at_"), []).append((step, float(value)))

    with open(path) as lines:
        for line in map(json.loads, lines):
            step = line.pop("step")
            for key, value in line.items():
                collect(step, key, value)
    return found


def of_tensorboard(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(directory, size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        found[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return found, hparams(events)


def hparams(events):
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = events.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(data["_hparams_/session_start_info"])
    values = {}
    for name, value in start.session_start_info.hparams.items():
        values[name] = getattr(value, value.WhichOneof("kind"))
    if "_hparams_/session_end_info" not in data:
        return values, None
    end = plugin_data_pb2.HParamsPluginData.FromString(data["_hparams_/session_end_info"])
    return values, end.session_end_info.status


def of_mlflow(uri, name):
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("prl")
    runs = client.search_runs([experiment.experiment_id], f"tags.`mlflow.runName` = '{name}'")
    assert len(runs) == 1, f"{len(runs)} runs of the name {name}"
    run = runs[0]
    found = {}
    for key in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, key)
        found[key] = [(m.step, m.value) for m in history]
    return found, (run.data.params, run.info.status)


def rounded(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def main():
    metrics, kind, *place = sys.argv[1:]
    want = expected(metrics)
    if kind == "tensorboard":
        found, settings = of_tensorboard(*place)
        for name, values in want.items():
            want[name] = [(step, rounded(value)) for step, value in values]
    else:
        found, settings = of_mlflow(*place)
    assert sorted(found) == sorted(want), f"names: {sorted(found)} and {sorted(want)}"
    count = 0
    for name, values in want.items():
        assert found[name] == values, f"{name}: {found[name]} and {values}"
        count += len(values)
    print(json.dumps({"equal": count, "settings": settings[0], "status": settings[1]}))


main()
