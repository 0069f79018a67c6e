"""Which packets are decoded, and when: a pure rule, told in seconds and packets of a byte each unless said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from streams.demand import Demand

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    name: str
    is_keyframe: bool
    size: int = 1


def decoded_of(
    script: Sequence[str], *, max_held_bytes: int = 100, linger_s: int = 2
) -> tuple[list[str], Demand[Sent], list[int]]:
    """What is decoded at each packet, a second apart.

    Steps are packets ("K.." begins a group, "..big" is large), "want" and "again", a new connection.
    """
    pauses: list[int] = []
    now_s = 0
    demand: Demand[Sent] = Demand(
        linger_ns=linger_s * NS_PER_S, max_held_bytes=max_held_bytes, on_pause=lambda: pauses.append(now_s)
    )
    answers = []
    for step in script:
        if step == "want":
            demand.want(now_s * NS_PER_S)
        elif step == "again":
            demand.restart()
        else:
            sent = Sent(name=step, is_keyframe=step.startswith("K"), size=60 if step.endswith("big") else 1)
            answers.append("+".join(each.name for each in demand.admit(sent, now_s * NS_PER_S)))
            now_s += 1
    return answers, demand, pauses


@pytest.mark.parametrize(
    ("script", "decoded", "skipped", "held"),
    [
        pytest.param("K1 a b K2 c", ["", "", "", "", ""], 3, 2, id="nobody-asks"),
        pytest.param("K1 a want b", ["", "", "K1+a+b"], 0, 0, id="from-the-last-key-frame-on"),
        pytest.param("K1 a K2 c want d", ["", "", "", "", "K2+c+d"], 2, 0, id="an-older-group-is-gone"),
        pytest.param("K1 want a b", ["", "K1+a", "b"], 0, 0, id="then-each-as-it-comes"),
        pytest.param("K1 want a b c d", ["", "K1+a", "b", "", ""], 0, 2, id="until-nobody-has-asked-for-a-while"),
        pytest.param("K1 want a want b c want d", ["", "K1+a", "b", "c", "d"], 0, 0, id="asking-again-prolongs"),
        pytest.param("K1 want a b c d want e", ["", "K1+a", "b", "", "", "c+d+e"], 0, 0, id="on-in-mid-group"),
        pytest.param("K1 want a b c K2 d want e", ["", "K1+a", "b", "", "", "", "K2+d+e"], 1, 0, id="on-in-the-next"),
        pytest.param("a b want c K1", ["", "", "", "K1"], 3, 0, id="joined-in-mid-group"),
        pytest.param("want K1 a", ["K1", "a"], 0, 0, id="asked-before-anything-came"),
        pytest.param("K1 a.big b.big want c K2", ["", "", "", "", "K2"], 4, 0, id="too-much-is-not-kept"),
        pytest.param("K1 a again b want c K2", ["", "", "", "", "K2"], 4, 0, id="a-new-connection-begins-anew"),
        pytest.param("K1 want a again K2", ["", "K1+a", "K2"], 0, 0, id="a-wish-outlives-the-connection"),
    ],
)
def test_what_is_decoded(script: str, decoded: list[str], skipped: int, held: int) -> None:
    answers, demand, _ = decoded_of(script.split())
    assert answers == decoded
    assert (demand.skipped, demand.held) == (skipped, held)


def test_a_pause_is_told_once() -> None:
    _, _, pauses = decoded_of(["K1", "want", "a", "b", "c", "d", "e", "want", "f", "g", "h"])
    assert pauses == [3, 8]


def test_always_decodes_everything_and_keeps_nothing() -> None:
    demand: Demand[Sent] = Demand(linger_ns=1, max_held_bytes=1, always=True)
    packet = Sent(name="a", is_keyframe=False)
    assert list(demand.admit(packet, 0)) == [packet]
    assert (demand.skipped, demand.held) == (0, 0)


@pytest.mark.parametrize(("linger_ns", "max_held_bytes"), [(0, 1), (1, 0)])
def test_bounds_are_checked(linger_ns: int, max_held_bytes: int) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Demand(linger_ns=linger_ns, max_held_bytes=max_held_bytes)
