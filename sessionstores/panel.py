"""The admin's overview as a panel of dj-control-room, the hub that some sites have."""

from __future__ import annotations


class LiveSessionsPanel:
    """What the hub reads of a panel: it finds this one through its entry point.

    It links to `<app_name>:<get_url_name()>`, for which the site includes `urls`.
    """

    app_name = "sessionstores"
    name = "Live sessions"
    description = "Who is in, is it healthy, what does it cost, end this one."
    icon = "radio"

    def get_url_name(self) -> str:
        """Return the name of the URL that leads to the overview."""
        return "index"
