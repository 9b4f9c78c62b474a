"""Types of the package; written by stubs.py."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

PathLike = str | os.PathLike[str]
AsFrame = bool | Literal["pandas", "polars", "pyarrow"]
Scorer = Callable[[list[Any]], Any]

__version__: str

class Error(Exception): ...
class UsageError(Error, ValueError): ...
class DataError(Error, ValueError): ...
class ForkError(Error, RuntimeError): ...
class Interrupted(KeyboardInterrupt): ...

class Callback(Protocol):
    def on_step(self, step: int, total: int, loss: float) -> None: ...
    def on_validation(self, record: dict[str, Any], is_best: bool) -> None: ...

class Dataset:
    path: Path
    def __init__(self, path: PathLike) -> None: ...
    def __fspath__(self) -> str: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def items(self) -> list[str]: ...
    def events(self, as_frame: AsFrame = True) -> Any: ...

class Run:
    path: Path
    def __init__(self, path: PathLike, *, device: str = "auto", threads: int | None = None) -> None: ...
    def __fspath__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def metrics(self) -> list[dict[str, Any]]: ...
    @property
    def items(self) -> list[str]: ...
    def recommend(
        self,
        sessions: Any,
        k: int = 20,
        *,
        columns: Mapping[str, str] | None = None,
        as_frame: AsFrame | None = None,
        mu: float | None = None,
        eps: float | None = None,
        target_return: float | None = None,
        quantile: float | None = None,
        max_return: bool | None = None,
        state_quantile: float | None = None,
        kappa: float | None = None,
        tilt: float | None = None,
        sequence_wise: bool | None = None,
        case: int | None = None,
        forecast: bool | None = None,
        exclude_seen: bool | None = None,
        exclude: Sequence[Any] | None = None,
        allow: Sequence[Any] | None = None,
        where: Mapping[str, Any] | None = None,
        properties: Sequence[str] | None = None,
        pinned: Sequence[Any] | None = None,
        max_per: Mapping[str, int] | None = None,
        diversity: float | None = None,
        fallback: bool | None = None,
    ) -> Any: ...
    def evaluate(
        self,
        scorer: Scorer | None = None,
        *,
        split: Literal["train", "val", "test", "all"] = "test",
        data: PathLike | None = None,
        other_log: PathLike | None = None,
        skip_first: bool | None = None,
        exclude_last: bool | None = None,
        exclude_seen: bool | None = None,
        k: int | Sequence[int] | Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        cases: PathLike | None = None,
        via: PathLike | float | None = None,
        curve: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
        prompt: Literal['oracle'] | None = None,
        mu: float | None = None,
        eps: float | None = None,
        max_return: bool | None = None,
        quantile: float | None = None,
        target_return: float | None = None,
        state_quantile: float | None = None,
        kappa: float | None = None,
        sequence_wise: bool | None = None,
        tilt: float | None = None,
        track: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
        device: PathLike | float | None = None,
        threads: int | None = None,
    ) -> dict[str, Any]: ...

def prepare(
    log: Any,
    out: PathLike,
    *,
    session: str | None = None,
    time: str | None = None,
    item: str | None = None,
    event: str | None = None,
    value: str | None = None,
    split_column: str | None = None,
    source: Literal['retailrocket', 'rc15', 'csv', 'parquet', 'inter', 'jsonl', 'arms-log'] | None = None,
    train: PathLike | None = None,
    val: PathLike | float | None = None,
    test: PathLike | float | None = None,
    clicks: PathLike | None = None,
    buys: PathLike | None = None,
    sample: int | None = None,
    columns: PathLike | float | None = None,
    delimiter: PathLike | float | None = None,
    no_header: bool | None = None,
    encoding: Literal['utf8', 'latin1'] | None = None,
    time_unit: Literal['auto', 's', 'ms', 'us', 'ns', 'excel'] | None = None,
    time_format: PathLike | float | None = None,
    time_zone: PathLike | float | None = None,
    missing: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    drop_missing: bool | None = None,
    purchase: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    click: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    drop_other_events: bool | None = None,
    min_session_events: int | None = None,
    min_item_events: int | None = None,
    split: Literal['random', 'time', 'leave-last-out', 'given'] | None = None,
    max_length: int | None = None,
    seed: int | None = None,
    parquet: PathLike | None = None,
    append: PathLike | None = None,
    from_: PathLike | float | None = None,
    until: PathLike | float | None = None,
    drop_duplicates: bool | None = None,
    session_gap: PathLike | float | None = None,
    drop_repeats: bool | None = None,
    filter_until_stable: bool | None = None,
    long_sessions: Literal['drop', 'split', 'last'] | None = None,
    split_at: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    keep_kinds: bool | None = None,
    reward: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    strict: bool | None = None,
    keep_log: bool | None = None,
    items: PathLike | None = None,
    items_id: PathLike | float | None = None,
    replace: bool | None = None,
) -> Dataset: ...
def train(
    data: PathLike | Dataset | None,
    out: PathLike,
    *,
    callbacks: Iterable[Any] = (),
    progress: bool | Literal["auto"] = "auto",
    config: PathLike | None = None,
    resume: bool | None = None,
    from_: PathLike | None = None,
    optimizer: Literal['fresh', 'carry'] | None = None,
    new_items: Literal['random', 'mean', 'co-occurrence'] | None = None,
    method: Literal['popularity', 'popularity-recent', 'last-items', 'last-items-knn', 'session-knn', 'session-knn-tuned', 'normal', 'sqn', 'sac', 'prl', 'prl-mean', 'prl-mlp', 'prl-wo', 'prl-cumu', 'prl-control'] | None = None,
    recipe: Literal['paper', 'modern'] | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    sampling: PathLike | float | None = None,
    weight_decay: float | None = None,
    lr_warm_up: int | None = None,
    lr_schedule: PathLike | float | None = None,
    select: PathLike | float | None = None,
    loss_weight: PathLike | float | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    hold_out: float | None = None,
    hold_out_by: PathLike | float | None = None,
    no_validation: bool | None = None,
    lambda_: float | None = None,
    discount: PathLike | float | None = None,
    mean_over: PathLike | float | None = None,
    gamma: float | None = None,
    warm_up: int | None = None,
    skip_first: bool | None = None,
    bf16_head: bool | None = None,
    head_dtype: PathLike | float | None = None,
    negatives: int | None = None,
    negative_sampling: PathLike | float | None = None,
    negative_power: float | None = None,
    mu: float | None = None,
    eps: float | None = None,
    encoder: Literal['gru', 'caser', 'nextitnet', 'sasrec', 'core'] | None = None,
    dim: int | None = None,
    window: int | None = None,
    dropout: float | None = None,
    prompt_scale: PathLike | float | None = None,
    residual: PathLike | float | None = None,
    attention: PathLike | float | None = None,
    reward_code: PathLike | float | None = None,
    update_bias: float | None = None,
    tied: bool | None = None,
    temperature: float | None = None,
    last_item_residual: bool | None = None,
    own_items: PathLike | float | None = None,
    item_dropout: float | None = None,
    event_kinds: bool | None = None,
    item_bias: bool | None = None,
    label_smoothing: float | None = None,
    track: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    track_name: PathLike | float | None = None,
    device: PathLike | float | None = None,
    threads: int | None = None,
) -> Run: ...
def tune(
    data: PathLike | Dataset,
    out: PathLike,
    *,
    space: PathLike | None = None,
    budget: PathLike | float | None = None,
    trials: int | None = None,
    jobs: int | None = None,
    select: PathLike | float | None = None,
    pruner: Literal['median', 'hyperband', 'none'] | None = None,
    seed: int | None = None,
    resume: bool | None = None,
    device: PathLike | float | None = None,
    track: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
) -> dict[str, Any]: ...

class Server:
    url: str
    def __enter__(self) -> "Server": ...
    def __exit__(self, *_: object) -> None: ...
    def request(
        self, path: str, body: Any = None, method: str | None = None, *, key: str | None = None, timeout: float = 30
    ) -> Any: ...
    def stop(self) -> None: ...

def serve(
    run: PathLike | Run | None = None,
    *,
    addr: str = "127.0.0.1:0",
    registry: PathLike | None = None,
    tls_addr: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    tls_cert: PathLike | None = None,
    tls_key: PathLike | None = None,
    keys: PathLike | None = None,
    cors_origin: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    path_prefix: PathLike | float | None = None,
    runs_root: PathLike | None = None,
    log_format: Literal['text', 'json'] | None = None,
    otlp_endpoint: PathLike | float | None = None,
    otlp_share: float | None = None,
    api_key_file: PathLike | None = None,
    requests: int | None = None,
    connections: int | None = None,
    batch: int | None = None,
    timeout: float | None = None,
    candidate: PathLike | None = None,
    shadow: float | None = None,
    state: PathLike | None = None,
    session_store: PathLike | float | None = None,
    backups: PathLike | None = None,
    session_ttl: int | None = None,
    sessions: int | None = None,
    experiment: PathLike | None = None,
    experiment_log: PathLike | None = None,
    available_column: PathLike | float | None = None,
    device: PathLike | float | None = None,
    threads: int | None = None,
) -> Server: ...
def command(name: str, *positional: PathLike | Run | Dataset, **flags: Any) -> Any: ...
def ope(
    log: PathLike,
    *,
    experiment: PathLike | float | None = None,
    policy: PathLike | float | Sequence[PathLike | float] | Mapping[str, Any] | None = None,
    baseline: PathLike | float | None = None,
    reward: PathLike | float | None = None,
    value: bool | None = None,
    min_ess: int | None = None,
    export: PathLike | None = None,
) -> dict[str, Any]: ...
