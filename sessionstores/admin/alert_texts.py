"""What is wrong, in the language of the page; logs and terminals have it in English."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..humanize import number_text, size_text
from ..monitoring.alerts import Alert

_SPANS = (86_400, 3_600, 60)


class Words(NamedTuple):
    """What is wrong, and what to do about it."""

    text: str
    hint: str


def words_for(leak: Alert) -> Words:
    """Return a warning's words; those that it brings if it has no figures."""
    say = _WORDS.get(leak.code)
    if say is None or not leak.values:
        return Words(leak.text, leak.hint)
    return say(leak.key.removesuffix(":*"), dict(leak.values))


def span_text(seconds: float) -> str:
    """Write a time as people say it, "40 s", "14 min", "3 h" or "12 d"."""
    days, hours, minutes = (int(seconds // length) for length in _SPANS)
    if days:
        return _("%(count)s d") % {"count": number_text(days)}
    if hours:
        return _("%(count)s h") % {"count": hours}
    if minutes:
        return _("%(count)s min") % {"count": minutes}
    return _("%(count)s s") % {"count": max(int(seconds), 0)}


def _near_limit(key: str, values: dict[str, Any]) -> Words:
    return Words(
        _("%(key)s has %(size)s of the %(limit)s that MAX_STATE_BYTES allows.")
        % {
            "key": key,
            "size": size_text(values["size"]),
            "limit": size_text(values["limit"]),
        },
        _(
            "Beyond it, changes are refused (StateTooLarge). Store less, or raise the "
            "setting."
        ),
    )


def _over_budget(key: str, values: dict[str, Any]) -> Words:
    return Words(
        _("%(key)s has %(size)s; 10 MB for 50 participants make %(budget)s for each.")
        % {
            "key": key,
            "size": size_text(values["size"]),
            "budget": size_text(values["budget"]),
        },
        _("Keep large things elsewhere, and in the state what they are found by."),
    )


def _slow(key: str, values: dict[str, Any]) -> Words:
    return Words(
        _("%(key)s: %(operation)s took %(ms)s ms; SLOW_OPERATION_MS is %(limit)s.")
        % {
            "key": key,
            "operation": values["operation"],
            "ms": number_text(values["seconds"] * 1000),
            "limit": number_text(values["limit"] * 1000),
        },
        _(
            "Look for slow code in the action, a large state, or a cache that is far "
            "away or overloaded."
        ),
    )


def _unswept(key: str, values: dict[str, Any]) -> Words:
    sessions, lost = values["sessions"], values["lost"]
    if sessions:
        text = ngettext(
            "%(count)s session holds what nobody has used for %(time)s, more than "
            "twice IDLE_TIMEOUT.",
            "%(count)s sessions hold what nobody has used for %(time)s, more than "
            "twice IDLE_TIMEOUT.",
            sessions,
        ) % {"count": number_text(sessions), "time": span_text(values["unused"])}
    else:
        text = ngettext(
            "%(count)s record has gone untold.",
            "%(count)s records have gone untold.",
            lost,
        ) % {"count": number_text(lost)}
    if values["swept"] is None:
        swept = _("Nobody has swept yet.")
    else:
        swept = _("The last sweep was %(time)s ago.") % {
            "time": span_text(values["swept"])
        }
    return Words(
        f"{text} {swept}",
        _(
            "Run manage.py sweepstores often enough, or where the cache is local to a "
            "process, turn AUTO_SWEEP on."
        ),
    )


def _orphans(key: str, values: dict[str, Any]) -> Words:
    return Words(
        ngettext(
            "%(count)s index entry has no record any more: expired before a sweep, "
            "thrown out by the server, or deleted by hand.",
            "%(count)s index entries have no records any more: expired before a sweep, "
            "thrown out by the server, or deleted by hand.",
            values["lost"],
        )
        % {"count": number_text(values["lost"])},
        _(
            "A sweep takes them out. If they come back, sweep more often and see that "
            "the server evicts nothing."
        ),
    )


def _growing(key: str, values: dict[str, Any]) -> Words:
    return Words(
        _(
            "State has grown for %(time)s without a pause, from %(before)s to "
            "%(after)s for each participant."
        )
        % {
            "time": span_text(values["seconds"]),
            "before": size_text(values["before"]),
            "after": size_text(values["after"]),
        },
        _(
            "Look for a list or dict in a state that only ever grows, and limit it in "
            "the action that adds to it."
        ),
    )


def _evicting(key: str, values: dict[str, Any]) -> Words:
    if "used" in values:
        return Words(
            _(
                "%(server)s uses %(used)s of %(limit)s: soon it throws out state, or "
                "refuses changes."
            )
            % {
                "server": values["server"],
                "used": size_text(values["used"]),
                "limit": size_text(values["limit"]),
            },
            _("Give it more memory, or keep what else is in there somewhere else."),
        )
    text = ngettext(
        "%(server)s has thrown out %(count)s entry for want of memory, in the last "
        "%(time)s; state may be among them.",
        "%(server)s has thrown out %(count)s entries for want of memory, the last of "
        "them in the last %(time)s; state may be among them.",
        values["evicted"],
    ) % {
        "server": values["server"],
        "count": number_text(values["evicted"]),
        "time": span_text(values["ago"] + 60),
    }
    if values["policy"]:
        policy = _("Its policy is %(policy)s.") % {"policy": values["policy"]}
        text = f"{text} {policy}"
    return Words(
        text,
        _(
            "Give it more memory, and a policy that never evicts (maxmemory-policy "
            "noeviction); or sessionstores a server of its own."
        ),
    )


_WORDS = {
    "near_limit": _near_limit,
    "over_budget": _over_budget,
    "slow": _slow,
    "unswept": _unswept,
    "orphans": _orphans,
    "growing": _growing,
    "evicting": _evicting,
}
