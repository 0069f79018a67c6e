import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Closed, MailboxTimeoutError
from streams.mailbox import Policy, PutEnd, TakeEnd, open_mailbox


def _pair(bound: int, policy: Policy) -> tuple[PutEnd[int], TakeEnd[int]]:
    return open_mailbox(bound, policy)


@given(st.integers(1, 4), st.lists(st.sampled_from(["put", "take", "close", "discard"]), max_size=60))
def test_drop_oldest_agrees_with_a_model(bound: int, actions: list[str]) -> None:
    dropped: list[int] = []
    put_end, take_end = open_mailbox(bound, Policy.DROP_OLDEST, on_drop=dropped.append)
    model: deque[int] = deque(maxlen=bound)
    closed = False
    puts = takes = discarded = 0
    for number, action in enumerate(actions):
        if action == "put" and closed:
            with pytest.raises(Closed):
                put_end.put(number)
        elif action == "put":
            put_end.put(number)
            model.append(number)
            puts += 1
        elif action == "take" and model:
            assert take_end.take(timeout_s=0) == model.popleft()
            takes += 1
        elif action == "take":
            with pytest.raises(Closed if closed else MailboxTimeoutError):
                take_end.take(timeout_s=0)
        elif action == "close":
            put_end.close()
            closed = True
        else:
            discarded += len(model)
            model.clear()
            take_end.discard()
            closed = True
        counts = put_end.statistics()
        assert (counts.put, counts.taken, counts.depth, counts.bound) == (puts, takes, len(model), bound)
        assert counts.put == counts.taken + counts.dropped + counts.depth
        assert counts.dropped == len(dropped) + discarded
    assert dropped == sorted(dropped)


@given(st.integers(1, 3), st.lists(st.integers(0, 30), min_size=1, max_size=3))
def test_block_loses_nothing_and_keeps_each_producers_order(bound: int, counts: list[int]) -> None:
    put_end: PutEnd[tuple[int, int]]
    take_end: TakeEnd[tuple[int, int]]
    put_end, take_end = open_mailbox(bound, Policy.BLOCK)

    def produce(producer: int, count: int) -> None:
        for number in range(count):
            put_end.put((producer, number))

    threads = [threading.Thread(target=produce, args=pair) for pair in enumerate(counts)]
    for thread in threads:
        thread.start()
    taken = [take_end.take(timeout_s=30) for _ in range(sum(counts))]
    for thread in threads:
        thread.join()
    for producer, count in enumerate(counts):
        assert [number for who, number in taken if who == producer] == list(range(count))
    statistics = take_end.statistics()
    assert (statistics.dropped, statistics.depth) == (0, 0)


def test_closing_hands_out_what_is_there_and_then_says_so() -> None:
    put_end, take_end = _pair(3, Policy.BLOCK)
    put_end.put(1)
    put_end.put(2)
    put_end.close()
    put_end.close()
    assert [take_end.take(), take_end.take()] == [1, 2]
    with pytest.raises(Closed):
        take_end.take()
    with pytest.raises(EOFError):
        put_end.put(3)


@pytest.mark.parametrize("closer", ["put", "take", "discard"])
def test_closing_wakes_a_waiting_producer(closer: str) -> None:
    put_end, take_end = _pair(1, Policy.BLOCK)
    put_end.put(0)
    outcome: list[str] = []
    began = threading.Event()

    def produce() -> None:
        began.set()
        try:
            put_end.put(1)
        except Closed:
            outcome.append("closed")

    thread = threading.Thread(target=produce)
    thread.start()
    began.wait()
    {"put": put_end.close, "take": take_end.close, "discard": take_end.discard}[closer]()
    thread.join(30)
    assert outcome == ["closed"]
    assert take_end.statistics().put == 1


@pytest.mark.parametrize("closer", ["put", "take"])
def test_closing_wakes_a_waiting_consumer(closer: str) -> None:
    put_end, take_end = _pair(1, Policy.DROP_OLDEST)
    outcome: list[str] = []
    began = threading.Event()

    def consume() -> None:
        began.set()
        try:
            take_end.take()
        except Closed:
            outcome.append("closed")

    thread = threading.Thread(target=consume)
    thread.start()
    began.wait()
    (put_end if closer == "put" else take_end).close()
    thread.join(30)
    assert outcome == ["closed"]


def test_the_newest_wins() -> None:
    put_end, take_end = _pair(1, Policy.DROP_OLDEST)
    for number in range(5):
        put_end.put(number)
    assert take_end.take() == 4
    assert take_end.statistics().dropped == 4


def test_nothing_in_time_is_a_builtin_timeout() -> None:
    _, take_end = _pair(1, Policy.BLOCK)
    with pytest.raises(TimeoutError):
        take_end.take(timeout_s=0)


def test_a_mailbox_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        _pair(0, Policy.BLOCK)
