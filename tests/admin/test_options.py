"""Permissions of the admin pages, and the admin around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory, override_settings
from django.urls import clear_url_caches, path, set_urlconf

from sessionstores import stores
from sessionstores.admin import LiveSessionAdmin
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import StoreUnavailable
from sessionstores.models import LiveSession
from tests.staff import ALL, CODE, connect, fill, member, page, signed_in

pytestmark = pytest.mark.django_db

OK, FOUND, FORBIDDEN, NOT_ALLOWED = 200, 302, 403, 405

# Of each page: its name and arguments, the method that it takes, and the permissions
# beyond view_dashboard without which it is forbidden.
PAGES: list[tuple[str, tuple[str, ...], str, frozenset[str]]] = [
    ("changelist", (), "GET", frozenset()),
    ("live", (), "GET", frozenset()),
    ("health", (), "GET", frozenset()),
    ("health_live", (), "GET", frozenset()),
    ("stats", (), "GET", frozenset()),
    ("metrics", (), "GET", frozenset()),
    ("session", (CODE,), "GET", frozenset()),
    ("session_live", (CODE,), "GET", frozenset()),
    ("history", (CODE,), "GET", frozenset()),
    ("participant", (CODE, "alice"), "GET", frozenset()),
    ("participant", (CODE, "*"), "GET", frozenset()),
    ("participant_live", (CODE, "alice"), "GET", frozenset()),
    ("print", (CODE,), "GET", frozenset()),
    ("export", (CODE,), "GET", frozenset({"view_state"})),
    ("download", (CODE, "alice", "board"), "GET", frozenset({"view_state"})),
    (
        "edit",
        (CODE, "alice", "board"),
        "GET POST",
        frozenset({"view_state", "manage_sessions"}),
    ),
    ("act", (), "POST", frozenset({"manage_sessions"})),
    ("sweep", (), "POST", frozenset({"manage_sessions"})),
    ("session_act", (CODE,), "POST", frozenset({"manage_sessions"})),
    ("participants_act", (CODE,), "POST", frozenset({"manage_sessions"})),
]

# Of each visitor: what they have; None: they are not staff, or not signed in.
VISITORS: dict[str, frozenset[str] | None] = {
    "anonymous": None,
    "a user who is not staff": None,
    "staff without a permission": frozenset(),
    "staff with view_state only": frozenset({"view_state"}),
    "staff with manage_sessions only": frozenset({"manage_sessions"}),
    "staff with view_dashboard": frozenset({"view_dashboard"}),
    "staff who may see states": frozenset({"view_dashboard", "view_state"}),
    "staff who may manage": frozenset({"view_dashboard", "manage_sessions"}),
    "staff with all": frozenset(ALL),
    "a superuser": frozenset(ALL),
}


def visit(visitor: str) -> Client:
    client = Client()
    if visitor == "a superuser":
        client.force_login(User.objects.create_superuser("root"))
    elif visitor == "a user who is not staff":
        client.force_login(member(*ALL, staff=False))
    elif visitor != "anonymous":
        client.force_login(member(*(VISITORS[visitor] or ())))
    return client


@pytest.mark.parametrize("visitor", VISITORS)
def test_every_page_is_open_to_those_with_its_permissions_and_to_nobody_else(
    visitor: str,
) -> None:
    fill("alice")
    client = visit(visitor)
    has = VISITORS[visitor]
    for name, arguments, methods, needs in PAGES:
        for method in ("GET", "POST", "PUT", "DELETE"):
            response = client.generic(method, page(name, *arguments))
            seen = (name, arguments, method, response.status_code)
            figures = name in {"stats", "metrics"}
            if figures and method != "GET":
                assert response.status_code == NOT_ALLOWED, seen
            elif has is None:
                assert response.status_code == FOUND, seen
                assert response["Location"].startswith("/admin/login/"), seen
            elif not has >= needs | {"view_dashboard"}:
                assert response.status_code == FORBIDDEN, seen
            elif method == "GET" and methods == "POST":
                # As after signing in again, which leads back by GET.
                assert response.status_code == FOUND, seen
                home = page("session", CODE) if arguments else page("changelist")
                assert response["Location"] == home, seen
            elif method not in methods.split():
                assert response.status_code == NOT_ALLOWED, seen
            else:
                assert response.status_code in {OK, FOUND}, seen
                assert "login" not in response.get("Location", ""), seen
    assert stores.participants(CODE) == ["alice"]


def test_nothing_is_changed_by_get_nor_without_the_csrf_token() -> None:
    fill("alice")
    client = signed_in(*ALL, enforce_csrf_checks=True)
    for name, arguments, methods, _needs in PAGES:
        if "POST" in methods:
            body = {"action": "end", "chosen": [CODE, "alice"], "confirm": "yes"}
            response = client.post(page(name, *arguments), body)
            assert response.status_code == FORBIDDEN
    assert stores.participants(CODE) == ["alice"]


def test_readonly_takes_every_change_from_everybody() -> None:
    fill("alice")
    client = visit("a superuser")
    with override_settings(SESSIONSTORES={"ADMIN_READONLY": True}):
        for name, arguments, _methods, _needs in PAGES:
            response = client.post(page(name, *arguments))
            assert response.status_code in {FORBIDDEN, NOT_ALLOWED}, name
        shown = client.get(page("session", CODE)).content.decode()
        inspected = client.get(page("participant", CODE, "alice")).content.decode()
    assert "Read-only: ADMIN_READONLY is on" in shown
    for text in (shown, inspected):
        assert 'name="action"' not in text
        assert 'type="checkbox"' not in text
    assert page("edit", CODE, "alice", "board") not in inspected


def test_the_sidebar_has_an_entry_for_those_who_may_look() -> None:
    entry = page("changelist")
    assert entry in signed_in("view_dashboard").get("/admin/").content.decode()
    other = signed_in(name="ned").get("/admin/")
    assert entry not in other.content.decode()


def test_there_is_no_table_and_no_migration_but_the_permissions() -> None:
    assert not LiveSession._meta.managed
    assert sorted(codename for codename, _text in LiveSession._meta.permissions) == [
        "manage_sessions",
        "view_dashboard",
        "view_state",
    ]
    assert LiveSession._meta.default_permissions == ()
    assert str(LiveSession()) == "live session"
    empty: Any = RequestFactory().get("/")
    empty.user = member(*ALL)
    admin = LiveSessionAdmin(LiveSession, AdminSite())
    assert not admin.has_add_permission(empty)
    assert not admin.has_change_permission(empty)
    assert not admin.has_delete_permission(empty)


@pytest.fixture
def own_site() -> Iterator[None]:
    """An admin site of another name, beside none of the default's."""
    site = AdminSite(name="backstage")
    site.register(LiveSession, LiveSessionAdmin)
    urls: Any = type("urls", (), {"urlpatterns": [path("backstage/", site.urls)]})
    with override_settings(ROOT_URLCONF=urls):
        clear_url_caches()
        yield
    set_urlconf(None)
    clear_url_caches()


@pytest.mark.usefixtures("own_site")
def test_it_works_in_an_admin_site_of_another_name() -> None:
    fill("alice")
    client = signed_in(*ALL)
    base = "/backstage/sessionstores/livesession/"
    for address in (base, f"{base}{CODE}/", f"{base}{CODE}/alice/"):
        text = client.get(address).content.decode()
        links = re.findall(r'(?:href|action)="(/[^"]*)"', text)
        assert any(link.startswith(base) for link in links)
        assert not [link for link in links if link.startswith("/admin/")]


def test_without_the_cache_every_page_says_so_and_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice")
    client = signed_in(*ALL)
    backend = get_backend(blocking=True)

    async def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("No answer from cache.example:6379 within 1 s.")

    names = "summaries session participants read now values due_sessions"
    for name in names.split():
        monkeypatch.setattr(backend, name, fail)
    for name, arguments, methods, _needs in PAGES:
        if name in {"stats", "metrics", "history"}:
            continue
        deed = "remove" if name == "participants_act" else "end"
        body = {"action": deed, "chosen": [CODE, "alice"], "confirm": "yes"}
        address = page(name, *arguments)
        response = client.get(address) if "GET" in methods else None
        response = response or client.post(address, body)
        assert response.status_code == OK, name
        if name == "export":
            continue
        text = response.content.decode()
        assert "The cache does not answer" in text, name
        assert "cache.example" in text, name
        assert "Try again" in text, name
    assert client.get(page("stats")).status_code == 503
    assert client.get(page("metrics")).status_code == 503


def test_what_an_outage_kept_from_being_done_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice")
    connect("alice")
    client = signed_in(*ALL)
    backend = get_backend(blocking=True)

    async def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("No answer from cache.example:6379 within 1 s.")

    body = {"action": "message", "confirm": "yes", "text": 'Lunch at "12" <now>'}
    address = page("session_act", CODE)
    with monkeypatch.context() as patched:
        patched.setattr(backend, "session", fail)
        text = client.post(address, body).content.decode()
    form = text.partition("<form")[2].partition("</form>")[0]
    while form and "ss-again" not in form:
        text = text.partition("</form>")[2]
        form = text.partition("<form")[2].partition("</form>")[0]
    assert 'method="post"' in form
    fields = re.findall(r'name="(\w+)" value="([^"]*)"', form)
    sent = {name: unescape(value) for name, value in fields}
    assert sent.pop("csrfmiddlewaretoken")
    assert sent == body
    # The first step of a sweep has no fields at all.
    with monkeypatch.context() as patched:
        patched.setattr(backend, "due_sessions", fail)
        patched.setattr(backend, "summaries", fail)
        patched.setattr(backend, "values", fail)
        assert 'class="ss-again"' in client.post(page("sweep")).content.decode()
        assert 'class="ss-again"' not in client.get(page("changelist")).content.decode()
    after = client.post(address, sent, follow=True)
    assert "Sent to 1 person, 1 tab." in after.content.decode()


def test_after_signing_in_again_it_is_said_that_nothing_was_done() -> None:
    fill("alice")
    response = signed_in(*ALL).get(page("session_act", CODE), follow=True)
    assert "Nothing was done. Choose the action again." in response.content.decode()


def test_addresses_that_no_code_or_id_can_have_are_not_found() -> None:
    client = signed_in(*ALL)
    base = page("changelist")
    for address in (
        "k7q2zd/",
        "K7Q2ZDX/",
        f"{CODE}/a b/",
        f"{CODE}/{'x' * 65}/",
        f"{CODE}/alice/Board.json",
        f"{CODE}/alice/no_such_state/edit/",
    ):
        assert client.get(base + address).status_code == 404, address


def test_an_entry_of_the_log_leads_to_what_it_is_about() -> None:
    fill("alice", "change")
    client = signed_in(*ALL)
    for id in ("alice", "change", "*"):
        assert client.get(page("participant", CODE, id)).status_code == OK
    client.post(page("sweep"), {"confirm": "yes"})
    expected = {
        f"{CODE}:alice": page("participant", CODE, "alice"),
        f"{CODE}:change": page("participant", CODE, "change"),
        CODE: page("session", CODE),
        "sessions": page("changelist"),
    }
    found = {}
    for entry in LogEntry.objects.all():
        response = client.get(entry.get_admin_url() or "")
        found[entry.object_repr] = response["Location"]
    assert found == expected


def test_opening_pages_creates_and_touches_nothing() -> None:
    fill("alice")
    client = signed_in(*ALL)
    backend = get_backend(blocking=True)
    before = run(backend.participants(CODE))
    for name, arguments, methods, _needs in PAGES:
        if "GET" in methods:
            client.get(page(name, *arguments))
    client.get(page("session", "ZZZZZZ"))
    client.get(page("participant", CODE, "nobody"))
    client.get(page("edit", CODE, "nobody", "board"))
    client.get(page("download", CODE, "nobody", "board"))
    client.get(page("export", "ZZZZZZ"))
    assert run(backend.participants(CODE)) == before
    assert stores.sessions() == [CODE]
    assert Session.objects.count() == 1


@pytest.mark.parametrize("nonce", ["abc123", None])
def test_scripts_and_styles_carry_the_sites_nonce(nonce: str | None) -> None:
    fill("alice")
    client = signed_in(*ALL)
    processors = [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
        f"tests.admin.test_options.{'with_nonce' if nonce else 'without_nonce'}",
    ]
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": processors},
    }
    with override_settings(TEMPLATES=[templates]):
        text = client.get(page("changelist")).content.decode()
    ours = re.findall(r"<(?:script|link)[^>]*sessionstores/[^>]*>", text)
    assert len(ours) == 2
    for element in ours:
        assert ('nonce="abc123"' in element) is (nonce is not None)


class LateNonce:
    """Like Django's: false until somebody has asked for it."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "abc123"


def with_nonce(request: Any) -> dict[str, Any]:
    return {"csp_nonce": LateNonce()}


def without_nonce(request: Any) -> dict[str, Any]:
    return {}


def test_pages_hold_neither_inline_scripts_nor_styles() -> None:
    fill("alice")
    client = signed_in(*ALL)
    for name, arguments, methods, _needs in PAGES:
        if "GET" not in methods or name in {"stats", "metrics", "export", "download"}:
            continue
        text = client.get(page(name, *arguments)).content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=", text), name
        for element in re.findall(r"<script[^>]*>", text):
            assert "src=" in element or "application/json" in element, name
