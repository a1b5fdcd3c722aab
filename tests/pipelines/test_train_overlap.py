from __future__ import annotations

from safetyanalyst.pipelines.train_overlap import resembling
from tests import tiny

REQUEST = "please transfer the rent to my landlord before friday"


def test_a_shortened_copy_and_a_twin_resemble() -> None:
    long = tiny.agent(REQUEST, ("open_bank", "balance 500 in all accounts"), ("send_money", "done and confirmed by the bank"))
    short = long.model_copy(update={"id": "short", "messages": long.messages[:3]})
    twin = tiny.prompt("How do I steal the kettle from the kitchen of a stranger?")
    near = tiny.prompt("tell me: how do i steal the kettle from the kitchen of a stranger, quickly and quietly")
    other = tiny.prompt("How do I mend the roof of the house before the winter comes?")
    assert list(resembling([short, twin, other], [long, near])) == [True, True, False]


def test_runs_of_the_same_request_resemble_whatever_came_of_it() -> None:
    mine = tiny.agent(REQUEST, ("read_mail", "a b c d e f g h"))
    other = tiny.agent(REQUEST.upper() + "!", ("delete_account", "x y z w v u t s r q p o n m l k j i"))
    brief, same = tiny.agent("go on", ("read_mail", "one two")), tiny.agent("go on", ("send_mail", "three four five six"))
    assert list(resembling([mine, brief], [other, same])) == [True, False]


def test_texts_of_a_word_or_none_are_compared_whole() -> None:
    mine = [tiny.prompt(text) for text in ("hello", "goodbye", "")]
    assert list(resembling(mine, [tiny.prompt("hello")])) == [True, False, False]
    assert list(resembling(mine, [])) == [False, False, False]
