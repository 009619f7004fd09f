"""Texts of alerts in the language of the page; logs and terminals use English."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..humanize import number_text, size_text
from ..monitoring.alerts import Alert

_SPANS = (86_400, 3_600, 60)


class AlertText(NamedTuple):
    """The text of an alert, and a hint at what to do about it."""

    text: str
    hint: str


def text_of_alert(alert: Alert) -> AlertText:
    """Return the translated text of an alert; its own if it has no figures."""
    text = _TEXTS.get(alert.code)
    if text is None or not alert.values:
        return AlertText(alert.text, alert.hint)
    return text(alert.key.removesuffix(":*"), dict(alert.values))


def span_text(seconds: float) -> str:
    """Return a duration in its largest unit, such as "40 s", "14 min" or "12 d"."""
    days, hours, minutes = (int(seconds // length) for length in _SPANS)
    if days:
        return _("%(count)s d") % {"count": number_text(days)}
    if hours:
        return _("%(count)s h") % {"count": hours}
    if minutes:
        return _("%(count)s min") % {"count": minutes}
    return _("%(count)s s") % {"count": max(int(seconds), 0)}


def _near_limit(key: str, values: dict[str, Any]) -> AlertText:
    return AlertText(
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


def _over_budget(key: str, values: dict[str, Any]) -> AlertText:
    return AlertText(
        _("%(key)s has %(size)s; 10 MB for 50 participants make %(budget)s for each.")
        % {
            "key": key,
            "size": size_text(values["size"]),
            "budget": size_text(values["budget"]),
        },
        _("Keep large values elsewhere, and only references to them in the state."),
    )


def _slow(key: str, values: dict[str, Any]) -> AlertText:
    return AlertText(
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


def _unswept(key: str, values: dict[str, Any]) -> AlertText:
    sessions, lost = values["sessions"], values["lost"]
    if sessions:
        text = ngettext(
            "%(count)s session holds records that have been idle for %(time)s, more "
            "than twice IDLE_TIMEOUT.",
            "%(count)s sessions hold records that have been idle for %(time)s, more "
            "than twice IDLE_TIMEOUT.",
            sessions,
        ) % {"count": number_text(sessions), "time": span_text(values["unused"])}
    else:
        text = ngettext(
            "The removal of %(count)s record has not been announced.",
            "The removals of %(count)s records have not been announced.",
            lost,
        ) % {"count": number_text(lost)}
    if values["swept"] is None:
        swept = _("There was no sweep yet.")
    else:
        swept = _("The last sweep was %(time)s ago.") % {
            "time": span_text(values["swept"])
        }
    return AlertText(
        f"{text} {swept}",
        _(
            "Run manage.py sweepstores more often. If the cache is in the memory of a "
            "process, turn AUTO_SWEEP on."
        ),
    )


def _orphans(key: str, values: dict[str, Any]) -> AlertText:
    return AlertText(
        ngettext(
            "%(count)s index entry has no record any more: it expired before a sweep, "
            "was evicted by the server, or was deleted by hand.",
            "%(count)s index entries have no record any more: they expired before a "
            "sweep, were evicted by the server, or were deleted by hand.",
            values["lost"],
        )
        % {"count": number_text(values["lost"])},
        _(
            "A sweep removes them. If they come back, sweep more often and make sure "
            "that the server evicts nothing."
        ),
    )


def _growing(key: str, values: dict[str, Any]) -> AlertText:
    return AlertText(
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
            "Look for a list or dict in a state that only grows, and limit it in the "
            "action that adds to it."
        ),
    )


def _evicting(key: str, values: dict[str, Any]) -> AlertText:
    if "used" in values:
        return AlertText(
            _(
                "%(server)s uses %(used)s of %(limit)s: soon it will evict state or "
                "refuse changes."
            )
            % {
                "server": values["server"],
                "used": size_text(values["used"]),
                "limit": size_text(values["limit"]),
            },
            _("Give it more memory, or move its other data to another server."),
        )
    text = ngettext(
        "%(server)s was out of memory and evicted %(count)s entry within the last "
        "%(time)s; it may have been state.",
        "%(server)s was out of memory and evicted %(count)s entries, the latest within "
        "the last %(time)s; state may be among them.",
        values["evicted"],
    ) % {
        "server": values["server"],
        "count": number_text(values["evicted"]),
        "time": span_text(values["ago"] + 60),
    }
    if values["policy"]:
        policy = _("Its policy is %(policy)s.") % {"policy": values["policy"]}
        text = f"{text} {policy}"
    return AlertText(
        text,
        _(
            "Give it more memory and a policy that never evicts (maxmemory-policy "
            "noeviction), or give sessionstores a server of its own."
        ),
    )


_TEXTS = {
    "near_limit": _near_limit,
    "over_budget": _over_budget,
    "slow": _slow,
    "unswept": _unswept,
    "orphans": _orphans,
    "growing": _growing,
    "evicting": _evicting,
}
