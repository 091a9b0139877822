"""The contract of `Records`: a record is stored once and whole, whoever writes it and however often."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from activations import activation, content, expected, id_of
from couches import Maker

from instar_controller.policies.keeping import Answered, Kept, Record
from instar_controller.whisk.values import compact


def test_a_record_is_stored_whole(maker: Maker) -> None:
    maker.records.put_activation(activation(1))
    (document,) = maker.stored_records().values()
    assert content(document) == expected(activation(1))
    assert (document["_id"], document["entityType"]) == (id_of(1), "activation")
    assert re.fullmatch(r"1-[0-9a-f]{32}", str(document["_rev"]))
    assert isinstance(document["updated"], int) and document["updated"] > 1_795_000_000_000


def test_a_record_that_is_there_stays_as_it_is(maker: Maker) -> None:
    maker.records.put_activation(activation(1, result={"first": True}))
    before = maker.stored_records()
    maker.records.put_activation(activation(1, result={"second": True}))
    assert maker.stored_records() == before


def test_records_of_one_batch_are_each_stored(maker: Maker) -> None:
    maker.records.put_activation(activation(3))
    records = [Record(id_of(n), compact({**expected(activation(n)), "updated": 1}).encode()) for n in range(20)]
    assert maker.records.write(records) == Answered([Kept()] * 20)
    assert maker.records.write(records[::-1]) == Answered([Kept()] * 20)
    stored = maker.stored_records()
    assert {id: content(document) for id, document in stored.items()} == {
        id_of(n): expected(activation(n)) for n in range(20)
    }
    assert all(str(document["_rev"]).startswith("1-") for document in stored.values())


def test_many_threads_write_records(maker: Maker) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(maker.records.put_activation, activation(n % 20)) for n in range(40)]:
            done.result(30)
    assert set(maker.stored_records()) == {id_of(n) for n in range(20)}
