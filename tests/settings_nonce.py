"""The demo under the strictest policy: nothing runs or styles without the nonce.

Needs Django 6, which has the middleware and the context processor for it.
"""

from __future__ import annotations

from django.utils.csp import CSP

from project.settings import *  # noqa: F403
from project.settings import MIDDLEWARE, TEMPLATES

MIDDLEWARE = [
    "django.middleware.csp.ContentSecurityPolicyMiddleware"
    if name == "project.middleware.ContentSecurityPolicy"
    else name
    for name in MIDDLEWARE
]
TEMPLATES[0]["OPTIONS"]["context_processors"] += [
    "django.template.context_processors.csp"
]
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.NONCE],
    "style-src": [CSP.NONCE],
    "img-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.SELF],
}
