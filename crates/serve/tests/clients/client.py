"""Recommends through the client that openapi-python-client generates: client.py URL KEY, with prl_client on the path."""

import json
import sys

from prl_client.api.default import add_events, recommend, recommend_for_session
from prl_client.client import AuthenticatedClient
from prl_client.models import (
    Event,
    NewEvents,
    Problem,
    RecommendRequest,
    RecommendResponse,
    StoredSessionRequest,
)

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)

answer = recommend.sync(client=client, body=RecommendRequest(items=["item-1", "item-2"], k=5, mu=2.0))
assert isinstance(answer, RecommendResponse), answer

events = NewEvents(events=[Event(item="item-4"), Event(item="item-5")])
stored = add_events.sync("python", client=client, body=events)
assert stored.events == 2, stored
again = recommend_for_session.sync("python", client=client, body=StoredSessionRequest(k=3))
assert isinstance(again, RecommendResponse), again

problem = recommend.sync(client=client, body=RecommendRequest(items=[], mu=1.0, quantile=0.5))
assert isinstance(problem, Problem), problem
assert problem.status == 422 and "one way" in problem.detail, problem

print(json.dumps({"answer": answer.to_dict(), "stored": again.to_dict()}))
