"""Caches of a site's own, and of packages that derive theirs from Django's."""

from __future__ import annotations

from typing import Any

import redis
import valkey
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django_redis.cache import RedisCache as DjangoRedisCache
from django_redis.pool import ConnectionFactory
from redis.connection import SSLConnection
from redis.credentials import CredentialProvider


class NativeRedisCache(RedisCache):
    """A cache of the shape of django-prometheus's: one method counts, nothing else."""

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """See `BaseCache.get`."""
        return super().get(key, default, version)


class PrometheusRedisCache(DjangoRedisCache):
    """The same over django-redis."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """See `BaseCache.get`."""
        return super().get(*args, **kwargs)


class FixedRedisCache(RedisCache):
    """A cache that knows its server, and so needs no LOCATION."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__("redis://fixed.example:6400/4", params)


class OwnClient(RedisCacheClient):
    """A client that chooses the server itself."""

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        """See `RedisCacheClient.get_client`."""
        pool = redis.ConnectionPool(host="own.example", password="a@b")
        return redis.Redis(connection_pool=pool)


class OwnClientCache(RedisCache):
    """A cache with a client of the site's."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = OwnClient


class OwnPool(redis.ConnectionPool):
    """A pool that adds the password, which stands in no setting."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, password="from the vault")


class OwnFactory(ConnectionFactory):  # type: ignore[type-arg]
    """A factory of django-redis that reaches every server by another port."""

    def make_connection_params(self, url: str) -> dict[str, Any]:
        """See `ConnectionFactory.make_connection_params`."""
        return {**super().make_connection_params(url), "client_name": "own"}


class OwnConnection(SSLConnection):
    """A connection that only blocking code can use."""


class OwnConnectionPool(redis.ConnectionPool):
    """A pool of such connections."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "connection_class": OwnConnection})


class Login(CredentialProvider):
    """Credentials that change."""

    def get_credentials(self) -> tuple[str, str]:
        """See `CredentialProvider.get_credentials`."""
        return "site", "fresh"


LOGIN = Login()


class GlideClient:
    """A client that has no pool."""

    connection_pool = None


class GlideCache(RedisCache):
    """A cache over a library whose connections are not like redis-py's."""

    @property
    def _cache(self) -> Any:
        class Client:
            def get_client(self, key: Any, *, write: bool) -> Any:
                return GlideClient()

        return Client()


class OtherCache(BaseCache):
    """A cache of no kind that is known."""


class OwnSentinel(redis.Sentinel):
    """Sentinels that name the primary by another address."""


def sentinel_client(kind: Any) -> Any:
    """Return a client of what watches `main`."""
    manager = kind(
        [("watch.example", 26379)],
        min_other_sentinels=2,
        sentinel_kwargs={"password": "w"},
    )
    return manager.master_for("main", password="p")


class SentinelCache(RedisCache):
    """A cache whose site asks sentinels, as Django has no setting for it."""

    kind: Any = redis.Sentinel

    @property
    def _cache(self) -> Any:
        kind = self.kind

        class Client:
            def get_client(self, key: Any, *, write: bool) -> Any:
                return sentinel_client(kind)

        return Client()


class OwnSentinelCache(SentinelCache):
    """The same with sentinels of the site's own."""

    kind = OwnSentinel


class BaseValkeyCache:
    """A cache of the shape of django-valkey's, which derive from no cache of Django."""

    # As that package has it: sessionstores knows it by its name.
    __module__ = "django_valkey.base"

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        self.server = server
        self.options = params.get("OPTIONS", {})

    def connect(self, index: int) -> Any:
        """Return the client of a server."""
        pool: Any = valkey.ConnectionPool
        return valkey.Valkey(connection_pool=pool.from_url(self.server, **self.options))

    @property
    def client(self) -> Any:
        """The cache's client, which connects."""
        return self


class ValkeyCache(BaseValkeyCache):
    """A cache of one Valkey."""


class WatchedValkeyCache(BaseValkeyCache):
    """A cache whose Valkey is watched by sentinels."""

    def connect(self, index: int) -> Any:
        """See `BaseValkeyCache.connect`."""
        return sentinel_client(valkey.Sentinel)


class AsyncValkeyCache(BaseValkeyCache):
    """A cache for coroutines."""

    is_async = True


class ClusterValkeyCache(BaseValkeyCache):
    """A cache on a cluster, whose client connects at once."""

    __module__ = "django_valkey.cluster_cache.cache"

    def connect(self, index: int) -> Any:
        """See `BaseValkeyCache.connect`."""
        return valkey.ValkeyCluster.from_url(self.server)
