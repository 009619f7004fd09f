"""A lossy layer loses what its seed says, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.test import override_settings

from sessionstores.testing import LossyLayer
from tests.sockets import until


async def arrived(layer: Any, count: int = 50) -> list[int]:
    """Send numbers over a layer; return those that arrive, in their order."""
    name = await layer.new_channel()
    for number in range(count):
        await layer.send(name, {"type": "number", "number": number})
    found = []
    for _ in range(count - layer.dropped):
        async with asyncio.timeout(10):
            found.append((await layer.receive(name))["number"])
    assert name not in layer.channels
    return found


async def test_the_same_seed_loses_the_same() -> None:
    one = await arrived(LossyLayer(seed=7, drop=0.3))
    other = await arrived(LossyLayer(seed=7, drop=0.3, delay=0))
    assert set(one) == set(other)
    assert 0 < len(other) < 50
    assert other == sorted(other)
    assert set(other) != set(await arrived(LossyLayer(seed=8, drop=0.3)))


async def test_delayed_messages_are_overtaken_and_all_arrive() -> None:
    layer = LossyLayer(seed=1, drop=0, delay=0.5)
    found = await arrived(layer)
    assert found != sorted(found) == list(range(50))
    assert layer.delayed > 10


async def test_groups_lose_messages_too() -> None:
    layer = LossyLayer(seed=1, drop=1)
    name = await layer.new_channel()
    await layer.group_add("group", name)
    await layer.group_send("group", {"type": "number"})
    assert layer.dropped == 1


async def test_a_delayed_message_for_a_full_channel_is_lost() -> None:
    layer = LossyLayer(drop=0, delay=1, delay_seconds=0, capacity=1)
    name = await layer.new_channel()
    for _ in range(2):
        await layer.send(name, {"type": "number"})
    await until(lambda: layer.dropped, "the loss")


@pytest.mark.parametrize("seed", [3])
def test_settings_can_name_it(seed: int) -> None:
    config = {"BACKEND": "sessionstores.testing.LossyLayer", "CONFIG": {"seed": seed}}
    with override_settings(CHANNEL_LAYERS={"default": config}):
        assert isinstance(get_channel_layer(), LossyLayer)
