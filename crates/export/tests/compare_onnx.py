"""Compares an exported network in onnxruntime with the answers of `prl recommend`.

Usage: compare_onnx.py EXPORT REQUESTS ANSWERS

EXPORT is a directory of `prl export`; REQUESTS and ANSWERS are the JSON lines of `prl recommend --input`
and `--out`. The inputs are made by preprocessing.json alone. Fails unless every list has the same items
in the same order (items whose scores differ by less than 1e-5 may change places) and no score differs by
more than 1e-4.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def load(directory):
    directory = Path(directory)
    text = (directory / "preprocessing.json").read_text()
    items = json.loads((directory / "items.json").read_text())
    session = onnxruntime.InferenceSession(
        str(directory / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return json.loads(text), items, session


def inputs(pre, index, requests):
    window, pad, n = pre["window"], pre["pad"], len(requests)
    feed = {
        "items": np.full((n, window), pad, np.int64),
        "kinds": np.zeros((n, window), np.int64),
        "count": np.zeros(n, np.int64),
        "step": np.zeros(n, np.int64),
        "target_return": np.zeros(n, np.float32),
    }
    prompt = pre["prompt"]
    for b, request in enumerate(requests):
        kinds = request.get("kinds") or ["click"] * len(request["items"])
        events = [(index[i], pre["kinds"][k]) for i, k in zip(request["items"], kinds) if i in index]
        step = len(events)
        events = events[-window:]
        feed["step"][b], feed["count"][b] = step, len(events)
        for j, (item, kind) in enumerate(events):
            feed["items"][b, j], feed["kinds"][b, j] = item, kind
        if prompt:
            mu = request.get("mu", prompt["mu"])
            mean = prompt["mean_return"][min(step, len(prompt["mean_return"]) - 1)]
            value = mu * mean
            if prompt["scale"] == "ratio":
                value = value / mean if mean else 0.0
            feed["target_return"][b] = value
    return {i["name"]: feed[i["name"]] for i in pre["inputs"]}


def main():
    pre, items, session = load(sys.argv[1])
    index = {item: i for i, item in enumerate(items)}
    requests = [json.loads(line) for line in open(sys.argv[2])]
    answers = [json.loads(line) for line in open(sys.argv[3])]
    assert len(requests) == len(answers), (len(requests), len(answers))
    worst, swapped = 0.0, 0
    for first in range(0, len(requests), 250):
        part = requests[first : first + 250]
        feed = inputs(pre, index, part)
        scores = session.run(["scores"], feed)[0]
        assert scores.shape == (len(part), len(items)), scores.shape
        for b, answer in enumerate(answers[first : first + 250]):
            if "target_return" in feed:
                fed, used = float(feed["target_return"][b]), answer["prompt"]["value"]
                assert abs(fed - used) < 1e-5, (first + b, fed, used)
            listed = [index[r["item"]] for r in answer["items"]]
            ours = np.array([r["score"] for r in answer["items"]])
            order = np.lexsort((np.arange(len(items)), -scores[b]))
            order = [i for i in order[: len(listed) + 1] if scores[b][i] > pre["output"]["left_out_below"]]
            order = order[: len(listed)]
            assert len(order) == len(listed), (first + b, len(order), len(listed))
            worst = max(worst, float(np.abs(scores[b][listed] - ours).max(initial=0.0)))
            for place, (a, o) in enumerate(zip(listed, order)):
                if a != o:
                    swapped += 1
                    gap = abs(float(scores[b][a] - scores[b][o]))
                    assert gap < 1e-5, (first + b, place, items[a], items[o], gap)
    assert worst <= 1e-4, worst
    print(f"{len(requests)} sessions, largest difference of a score {worst:.2e}, {swapped} ties swapped")


if __name__ == "__main__":
    main()
