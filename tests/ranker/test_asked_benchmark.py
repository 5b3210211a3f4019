from benchmarks.asked import found
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.windows import choose_cutoff, replay_window
from ranker.asked import asked_at
from ranker.rank import Ranker
from tests.ranker.conftest import changed


def test_what_no_answer_led_to_is_found_alike_and_all_is_counted(shop: Workspace, ranker: Ranker) -> None:
    with Store.open(shop.store_path, read_only=True) as store:
        interactions, impressions = store.interactions(before=END_OF_TIME), store.impressions(before=END_OF_TIME)
    earlier = changed(ranker, cutoff=choose_cutoff(interactions))
    answered, other = found(earlier, interactions, impressions).rows(named=True)
    assert (answered["led_to_by"], other["led_to_by"]) == ("an answer", "no answer")
    assert other["at_the_answer"] == other["at_the_click"] > 0
    assert answered["at_the_answer"] != answered["at_the_click"]
    asked = asked_at(interactions, impressions)
    taken = replay_window(interactions, earlier.cutoff, asked=asked, max_queries=len(interactions)).truth
    assert answered["n"] + other["n"] == len(taken)
    assert min(answered["n"], other["n"]) > 50
