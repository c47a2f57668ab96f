"""Evaluations in DynamoDB, against moto's server on loopback and, in between, a proxy that takes only part of a batch."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.evaluations import Evaluation, EvaluationRow, EvaluationSpec
from studio.domain.runs import BaseModelRef
from studio.domain.toxicity import NOT_COVERED, ScorerInfo, TestPrompt, TextScore
from studio.errors import ConflictError, InputError, NotAllowedError, NotFoundError, StudioError
from studio.services.compare.panes import row_seed
from studio.services.evaluations import dynamodb
from studio.services.evaluations.dynamodb import items_of, put_evaluation

boto3 = pytest.importorskip("boto3", reason="boto3 is an optional extra (requirements-aws.txt)")
TABLE = "before-after"


class Partial(BaseHTTPRequestHandler):
    """Passes requests on to moto; of each batch of writes it takes so many items, and says what it did not take."""

    server: PartialServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        left: list[Any] = []
        if self.headers["X-Amz-Target"].endswith("BatchWriteItem"):
            asked = json.loads(body)["RequestItems"][TABLE]
            self.server.batches.append(len(asked))
            taken = self.server.takes.pop(0) if self.server.takes else self.server.always
            asked, left = (asked, []) if taken is None else (asked[:taken], asked[taken:])
            body = json.dumps({"RequestItems": {TABLE: asked}}).encode()
            if not asked:
                return self._answer(200, json.dumps({"UnprocessedItems": {TABLE: left}}).encode())
        kept = ("X-Amz-Target", "Content-Type", "Authorization", "X-Amz-Date")
        passed = urllib.request.Request(
            self.server.behind, body, {k: v for k, v in self.headers.items() if k in kept}, method="POST"
        )
        try:
            with urllib.request.urlopen(passed) as response:
                status, answer = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, answer = error.code, error.read()
        if left:
            answer = json.dumps(json.loads(answer) | {"UnprocessedItems": {TABLE: left}}).encode()
        self._answer(status, answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests' output is for failures."""


class PartialServer(ThreadingHTTPServer):
    """``takes``: how many items of each next batch are taken (None: all); ``always``: of those after them."""

    takes: list[int | None]
    always: int | None = None
    behind: str
    batches: list[int]


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server", reason="moto is not installed (tests/requirements.txt)")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PartialServer]:
    urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")).close()
    server = PartialServer(("127.0.0.1", 0), Partial)
    server.takes, server.batches, server.behind = [], [], moto_url
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(dynamodb, "FIRST_WAIT_S", 0.001)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, dynamodb_table=TABLE, aws_region="eu-central-1")


def make_table(key: str = "conversation_id") -> None:
    boto3.client("dynamodb", region_name="eu-central-1").create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def stored() -> list[dict[str, Any]]:
    table = boto3.resource("dynamodb", region_name="eu-central-1").Table(TABLE)
    return list(table.scan()["Items"])


def evaluation(n: int, answer: str = "Good day.") -> Evaluation:
    scorer = ScorerInfo("embedded", "embedded", "Embedded", "abc", "rudeness", ("en",), ("not toxic", "toxic"), "toxic")
    spec = EvaluationSpec(
        title="Detox 1",
        base=BaseModelRef("embedded", "", "f" * 64),
        before=BASE,
        adapters=("run-1",),
        hashes=("", "cafe"),
        scorer=scorer,
        prompt_set="en",
        prompts=tuple(TestPrompt(f"q{i}", f"Question {i}?") for i in range(n)),
        samples=1,
        sampling=Sampling(seed=7),
    )
    rows = tuple(
        EvaluationRow(
            "run-1",
            f"q{i}",
            0,
            f"Question {i}?",
            "你真笨 😀",
            answer,
            TextScore(0.9, -2.197, (-2.197, 0.0), "toxic"),
            NOT_COVERED,
        )
        for i in range(n)
    )
    return Evaluation("e1", 1.5, 2.5, "done", "", True, n, spec, rows)


def test_every_row_is_put_once_with_the_names_of_the_notebook(aws: PartialServer, settings: Settings) -> None:
    make_table()
    told: list[tuple[int, int]] = []
    put = put_evaluation(evaluation(60), settings, lambda done, total: told.append((done, total)))
    assert (put.items, put.table, put.region, put.again) == (60, TABLE, "eu-central-1", 0)
    assert told == [(0, 60), (25, 60), (50, 60), (60, 60)]
    found = {item["query"]: item for item in stored()}
    assert sorted(found) == sorted(f"Question {i}?" for i in range(60))
    one = found["Question 3?"]
    assert (one["response_before"], one["response_after"]) == ("你真笨 😀", "Good day.")
    assert (one["toxicity_before"], one["reward_before"]) == (Decimal("0.9"), Decimal("-2.197"))
    assert (one["toxicity_after"], one["label_after"], one["difference"]) == (None, "not covered", None)
    assert (one["scorer"], one["scorer_revision"], one["adapter_hash"]) == ("embedded", "abc", "cafe")
    assert (one["evaluation_title"], one["seed"]) == ("Detox 1", row_seed(7, 3))
    again = put_evaluation(evaluation(60, answer="Changed."), settings)
    assert again.items == 60
    assert len(stored()) == 60, "a second time replaces"
    assert {item["response_after"] for item in stored()} == {"Changed."}


def test_what_a_batch_left_over_is_sent_again(aws: PartialServer, settings: Settings) -> None:
    make_table()
    aws.takes = [10, 0, 14, None, 3]
    put = put_evaluation(evaluation(40), settings)
    assert aws.batches == [25, 15, 15, 1, 15, 12]
    assert (put.items, put.again) == (40, 4)
    assert len(stored()) == 40


def test_a_table_that_takes_no_more_is_told_with_what_is_there(aws: PartialServer, settings: Settings) -> None:
    make_table()
    aws.takes, aws.always = [None, 5], 0
    with pytest.raises(
        StudioError, match=r"30 of 40 rows are in the table: the table takes no more for now"
    ) as refused:
        put_evaluation(evaluation(40), settings)
    assert "not doubled" in str(refused.value)
    assert len(stored()) == 30
    aws.always = None
    assert put_evaluation(evaluation(40), settings).items == 40
    assert len(stored()) == 40, "the second time brings the rest and doubles nothing"


def test_what_is_missing_is_named(aws: PartialServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="no table before-after in this region"):
        put_evaluation(evaluation(1), settings)
    with pytest.raises(InputError, match="STUDIO_DYNAMODB_TABLE"):
        put_evaluation(evaluation(1), dataclasses.replace(settings, dynamodb_table=""))
    with pytest.raises(InputError, match="'a b'"):
        put_evaluation(evaluation(1), dataclasses.replace(settings, dynamodb_table="a b"))
    with pytest.raises(InputError, match="no row yet"):
        put_evaluation(evaluation(0), settings)
    make_table(key="id")
    with pytest.raises(ConflictError, match=r"key of table before-after is id; it has to be conversation_id"):
        put_evaluation(evaluation(1), settings)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(settings.data_dir / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings.data_dir / "none"))
    with pytest.raises(NotAllowedError, match="no AWS credentials"):
        put_evaluation(evaluation(1), settings)


def test_an_item_too_large_stops_all_of_it(aws: PartialServer, settings: Settings) -> None:
    make_table()
    long = evaluation(3)
    rows = (*long.rows[:2], dataclasses.replace(long.rows[2], response_after="言" * 140_000))
    with pytest.raises(InputError, match=r"Row 3 has 42\d,\d{3} bytes.*Nothing was written"):
        put_evaluation(dataclasses.replace(long, rows=rows), settings)
    assert stored() == []


def test_nobody_there_is_one_sentence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StudioError, match="0 of 1 rows are in the table: AWS cannot be reached"):
        put_evaluation(evaluation(1), settings)


def test_ids_tell_rows_and_evaluations_apart() -> None:
    one, other = evaluation(30), dataclasses.replace(evaluation(30), id="e2")
    ids = [item["conversation_id"] for item in (*items_of(one), *items_of(other))]
    assert len(set(ids)) == 60
    assert ids[:30] == [item["conversation_id"] for item in items_of(one)], "and stay the same"
