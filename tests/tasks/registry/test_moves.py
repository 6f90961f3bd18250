from __future__ import annotations

import pytest

from llm.errors import RegistryError
from tasks.registry.aliases import read_aliases
from tasks.registry.answers import find_answer, remember_answer
from tasks.registry.connection import client
from tasks.registry.ledger import Move
from tasks.registry.moves import carry_out, find_promotion, find_reference, find_rollback
from tasks.registry.versions import champion, leave, promote

BACK = Move("rolled back", ("worse in the shop",), who="me@here")


@pytest.fixture
def three(bare_versions):
    """Versions 1, 2 and 3; 1 was champion, 2 is."""
    versions = bare_versions(3)
    first = promote(versions[0], over=None, reasons=(), description="")
    promote(versions[1], over=first, reasons=("better",), description="", p_value=0.01, level=0.05)
    return versions


def aliases():
    return read_aliases(client(), "translation")


def test_a_promotion_writes_the_figures_of_the_comparison_into_the_ledger(three):
    entry = aliases().ledger.entries[-1]
    assert (entry.what, entry.before, entry.after, entry.why) == ("promoted", 1, 2, ("better",))
    assert (entry.p_value, entry.level) == (0.01, 0.05)
    assert "@" in entry.who


def test_a_rollback_goes_back_to_the_version_before_and_a_second_one_undoes_it(three):
    assert carry_out(find_rollback("translation", None), BACK).version == 1
    assert aliases().versions == {"champion": 1, "previous": 2}
    assert carry_out(find_rollback("translation", None), BACK).version == 2
    assert aliases().versions == {"champion": 2, "previous": 1}
    told = [(entry.what, entry.before, entry.after) for entry in aliases().ledger.entries]
    assert told[2:] == [("rolled back", 2, 1), ("rolled back", 1, 2)]


def test_the_champion_is_champion_since_it_was_rolled_back_to(three):
    client().set_model_version_tag("translation", "1", "nightshift.champion_since", "2020-01-01T00:00:00+00:00")
    assert carry_out(find_rollback("translation", "1"), BACK).champion_since.year > 2020


def test_a_version_may_be_named_by_number_or_by_alias(three):
    assert find_reference("translation", "3").version == 3
    assert find_reference("translation", "previous").version == 1
    assert find_rollback("translation", "3").target.version == 3
    assert find_promotion("translation", "previous").target.version == 1


@pytest.mark.parametrize("reference", ["9", "0", "-1", "best", ""])
def test_a_version_that_does_not_exist_is_named_with_those_that_do(three, reference):
    with pytest.raises(RegistryError) as caught:
        find_reference("translation", reference)
    assert caught.value.problem == f"translation has no version {reference!r}"
    assert caught.value.remedy == "name one of 1, 2, 3, champion, previous"


def test_a_deleted_version_is_none_to_go_back_to(three):
    client().delete_model_version("translation", "1")
    with pytest.raises(RegistryError, match="nothing is known to have been champion of translation before version 2"):
        find_rollback("translation", None)
    with pytest.raises(RegistryError, match="has no version '1'"):
        find_rollback("translation", "1")


def test_the_champion_is_no_version_to_go_to(three):
    for find in (find_rollback, find_promotion):
        with pytest.raises(RegistryError, match="version 2 is the champion of translation already"):
            find("translation", "2")


def test_without_a_champion_there_is_nothing_to_roll_back(bare_versions):
    bare_versions(1)
    with pytest.raises(RegistryError, match="translation has no champion to roll back"):
        find_rollback("translation", None)


def test_the_first_champion_and_one_that_a_crash_left_as_its_own_previous_cannot_be_rolled_back(bare_versions):
    promote(bare_versions(2)[0], over=None, reasons=(), description="")
    with pytest.raises(RegistryError, match="it has no alias `previous`") as caught:
        find_rollback("translation", None)
    assert "--to VERSION" in caught.value.remedy
    client().set_registered_model_alias("translation", "previous", "1")
    with pytest.raises(RegistryError, match="its alias `previous` names version 1 too"):
        find_rollback("translation", None)


def test_a_change_of_a_champion_that_changed_meanwhile_is_not_carried_out(three):
    change = find_rollback("translation", None)
    promote(three[2], over=champion("translation"), reasons=(), description="")
    with pytest.raises(RegistryError, match="became version 3 while version 1 was being tested"):
        carry_out(change, BACK)
    assert aliases().versions["champion"] == 3
    assert len(aliases().ledger.entries) == 3


def test_a_family_without_a_champion_may_get_its_first_by_hand(bare_versions):
    bare_versions(2)
    change = find_promotion("translation", "2")
    assert change.now is None
    assert carry_out(change, Move("promoted by hand", ("a start",), who="me")).version == 2
    assert aliases().ledger.entries[0].what == "promoted by hand"


def test_the_night_after_a_rollback_finds_its_question_answered_and_does_not_undo_it(three):
    remember_answer(three[1], "tonight", champion=2)
    carry_out(find_rollback("translation", None), BACK)
    assert find_answer("translation", "tonight", champion=1).version == 2


def test_the_night_after_a_promotion_by_hand_does_not_judge_the_new_champion_again(three):
    remember_answer(leave(three[2], decision="refused", reasons=(), description=""), "tonight", champion=2)
    carry_out(find_promotion("translation", "3"), Move("promoted by hand", ("tone",), who="me"))
    answer = find_answer("translation", "tonight", champion=3)
    assert (answer.version, answer.is_champion) == (3, True)


def test_a_version_whose_decision_was_cut_off_does_not_answer_because_of_a_rollback(three):
    # `promote` opened the question of version 2, and nothing closed it.
    carry_out(find_rollback("translation", None), BACK)
    assert client().get_model_version("translation", "2").tags["nightshift.question"] == "open"
