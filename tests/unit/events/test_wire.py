from __future__ import annotations

from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from training_sdk.wire import PARTITIONS, partition_of


@given(st.binary(min_size=1, max_size=40))
def test_keys_go_where_kafkas_own_partitioner_sends_them(key: bytes) -> None:
    assert partition_of(key) == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
