"""Client limits: nobody's entries cost anybody else theirs, and none runs twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.backends.client_entries import (
    MAX_RUNS,
    ONE,
    OUTCOME_UNKNOWN,
    has_run,
    merge,
    merged,
)
from sessionstores.backends.client_limits import (
    OWN_BYTES,
    RECORD_BYTES,
    SHARED_BYTES,
    reduced,
)
from sessionstores.backends.memcached import MAX_VALUE
from sessionstores.backends.profiles import profile_entry, profile_in
from sessionstores.backends.types import (
    CLIENT_MEMORY,
    PROFILE,
    RUNS,
    Attempt,
    ClientEntry,
    Profile,
)
from sessionstores.conf import Conf

from .test_client_entries import NOW, Clients, after, encoded, told

# Participants and tabs, few enough that they meet.
actors = st.tuples(st.sampled_from(["ann", "bob", "x" * 64]), st.integers(1, 30))


@given(
    steps=st.lists(
        st.tuples(actors, st.integers(1, 3), st.integers(0, 12), st.integers(0, 400)),
        max_size=60,
    ),
    is_shared=st.booleans(),
)
def test_entries_are_bounded_and_what_is_dropped_never_runs_again(
    steps: list[tuple[tuple[str, int], int, int, int]], is_shared: bool
) -> None:
    clients: Clients = {}
    now = NOW
    sent: dict[str, int] = {}
    applied: dict[str, dict[int, float]] = {}
    for (person, tab), skipped, refused, passed in steps:
        name = f"{person}/{tab:016}" if is_shared else f"{tab:016}"
        now += passed
        low = sent.get(name, 0)
        id = sent[name] = low + skipped + refused
        codes = {low + each: "a_code" * 3 for each in range(1, refused + 1)}
        clients = after(clients, Attempt(name, id, codes), now=now)
        applied.setdefault(name, {})[id] = now
        for owner in {each.rpartition("/")[0] for each in clients}:
            entries = {
                each: entry
                for each, entry in clients.items()
                if each.rpartition("/")[0] == owner
            }
            # Three bytes are the header of a map.
            limit = SHARED_BYTES if is_shared else OWN_BYTES
            assert len(encoded(_as_written(entries))) <= limit + 3
        assert told(clients, name, id) is True
        for other, ids in applied.items():
            for each, at in ids.items():
                if now - at < CLIENT_MEMORY / 2:
                    assert told(clients, other, each) in (True, OUTCOME_UNKNOWN)
                    assert told(clients, other, each - 1) is not False


def _as_written(clients: Clients) -> Clients:
    # Times are whole seconds where they are written.
    return {name: entry._replace(at=int(entry.at)) for name, entry in clients.items()}


def test_one_person_who_makes_up_clients_costs_nobody_else_an_entry() -> None:
    clients: Clients = {}
    for person in range(50):
        for tab in range(8):
            name = f"p{person}/{tab:016}"
            clients = after(clients, Attempt(name, 2, {1: "not_so"}))
    honest = dict(clients)
    for id in range(1, 1_000):
        spoiler = Attempt(f"eve/{id:x}{'z' * 50}", 1 + id % 3, {})
        clients = after(clients, spoiler, now=NOW + id / 100)
    assert honest.items() <= clients.items()
    left = clients.keys() - honest.keys()
    assert len(encoded({name: clients[name] for name in left})) <= SHARED_BYTES + 40
    # Only what the spoiler sends again is in doubt; what is new runs.
    assert told(clients, "eve/1" + "z" * 50, 1) == OUTCOME_UNKNOWN
    assert not has_run(clients, Attempt("eve/new", 1, {}))
    assert told(clients, "p7/new", 1) is False


@given(data=st.data())
def test_of_eight_tabs_in_use_no_open_action_is_in_doubt(data: st.DataObject) -> None:
    # Every other action is one of the other document, some are refused, and the last
    # twenty of each tab may be unanswered.
    person = "Zm9yIGEgdGVzdCB0"
    tabs = [f"{person}/{tab:016x}" for tab in range(8)]
    fates: dict[str, list[object]] = {name: [] for name in tabs}
    clients: Clients = {}
    for name in data.draw(st.lists(st.sampled_from(tabs), max_size=150)):
        mine = fates[name]
        mine += ["rejected", True]
        codes = {}
        if len(mine) % 20 == 0:
            mine[-2] = codes[len(mine) - 1] = "not_so"
        floor = max(0, len(mine) - 20)
        attempt = Attempt(name, len(mine), codes, floor=floor)
        clients = after(clients, attempt)
    for name, mine in fates.items():
        for id in range(max(1, len(mine) - 19), len(mine) + 1):
            assert told(clients, name, id) == mine[id - 1]


def test_eight_tabs_of_everybody_fit_into_a_memcached_item_beside_the_states() -> None:
    people = [f"{number:064}" for number in range(Conf().max_participants)]
    clients: dict[str, ClientEntry] = {}
    for person in people:
        mine: Clients = {}
        for tab in range(8):
            mine = merged(mine, [Attempt(f"{person}/{tab:016x}", 40_000, {})], NOW)
        assert len(mine) == 8
        clients |= mine
    size = len(encoded(clients)) + Conf().max_state_bytes
    assert size <= MAX_VALUE - 4_096
    # The next one of somebody's, and the mark of what is dropped, costs only them.
    extra = Attempt(f"{people[0]}/{9:016x}", 1, {})
    full = merged(clients, [extra], NOW)
    oldest = {f"{people[0]}/{tab:016x}" for tab in (0, 1)}
    assert full.keys() >= clients.keys() - oldest
    assert told(full, f"{people[0]}/{9:016x}", 1) is True
    assert len(encoded(full)) + Conf().max_state_bytes <= MAX_VALUE - 4_096


def test_entries_of_a_release_without_bounds_are_trimmed_by_the_next_commit() -> None:
    honest = {f"p{n}/{n:016}": ClientEntry(5, {}, NOW) for n in range(30)}
    made_up = {f"eve/{n:016}": ClientEntry(1, {}, NOW) for n in range(20_000)}
    crowd = {**honest, **made_up}
    merging = merge(crowd, [Attempt("p3/" + f"{3:016}", 6, {})], NOW)
    clients = merging.clients
    assert honest.keys() <= clients.keys()
    assert len(clients) < 60
    assert set(merging.dropped) == crowd.keys() - clients.keys()
    assert told(clients, f"eve/{1:016}", 1) == OUTCOME_UNKNOWN


def test_a_record_of_more_people_than_may_be_there_keeps_the_latest() -> None:
    clients: dict[str, ClientEntry] = {
        f"{n:064}/{n:016}": ClientEntry(5, {}, NOW + n / 100) for n in range(10_000)
    }
    clients = merged(clients, [Attempt("new/1", 1, {})], NOW + 100)
    assert len(encoded(clients)) <= RECORD_BYTES + 4 * len(clients)
    assert f"{9_999:064}/{9_999:016}" in clients
    assert told(clients, f"{0:064}/{0:016}", 5) == OUTCOME_UNKNOWN
    assert told(clients, "new/1", 1) is True


@given(excess=st.integers(1, 2_000))
def test_what_has_to_go_goes_as_far_as_there_is_something(excess: int) -> None:
    clients: Clients = {}
    for tab in range(20):
        codes = dict.fromkeys(range(1, 6), "not_so")
        clients = after(clients, Attempt(f"ann/{tab}", 9, codes), now=NOW + tab)
    # One entry, and the mark of the others, stay in any case.
    size, fewer = len(encoded(clients)), reduced(clients, excess)
    assert len(encoded(fewer)) <= max(size - excess, 60)
    assert told(fewer, "ann/19", 9) is True
    assert told(fewer, "ann/0", 3) in ("not_so", "rejected", OUTCOME_UNKNOWN)


def test_a_profile_outlasts_all_clients() -> None:
    profile = Profile("Ada", "facilitator", "7")
    many = {
        f"c{n:04}": ClientEntry(9, {RUNS: ONE * MAX_RUNS, 3: "x" * 400}, n)
        for n in range(200)
    }
    clients = {**many, PROFILE: profile_entry(profile)}
    left = reduced(clients, 1_000_000)
    assert len(left) < 5
    assert profile_in(left) == profile
    # Long after the others are forgotten, too.
    kept = merged(clients, [Attempt("d", 3, {2: "x" * 400})], 1e12)
    assert kept.keys() == {"d", PROFILE}
    assert profile_in(kept) == profile
