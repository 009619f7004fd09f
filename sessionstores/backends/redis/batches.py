"""Commands of one event loop through redis-py's pipelines, where hiredis is not."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError

from .location import ANSWER_SECONDS

# Commands that go out in one write, and writes that wait for their answers at a time.
BATCH = 256
FLYING = 2

Command = tuple[Any, ...]


class Batches:
    """Sends at once what coroutines ask for in one tick.

    While `FLYING` writes wait for their answers, the next one gathers, so that the
    busier it gets the less each command costs.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._flying = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, *command: Any) -> asyncio.Future[Any]:
        """Return the answer to come; errors are those of redis-py and TimeoutError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answer))
        if not self._scheduled and self._flying < FLYING:
            self._scheduled = True
            loop.call_soon(self._take_off)
        return answer

    async def close(self) -> None:
        """Do nothing: the connections are the client's."""

    def shut(self) -> None:
        """Do nothing, as `close`."""

    def _take_off(self) -> None:
        self._scheduled = False
        if not self._waiting or self._flying >= FLYING:
            return
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        self._flying += 1
        task = asyncio.get_running_loop().create_task(self._fly(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._waiting:
            self._take_off()

    async def _fly(self, batch: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        failure: BaseException | None = None
        answers: list[Any] = []
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answers = await self._exchange([command for command, _ in batch])
                if any(isinstance(a, ReadOnlyError) for a in answers):
                    # A primary that was demoted: the next one is elsewhere.
                    await self._client.connection_pool.disconnect()
        except (RedisError, OSError) as error:
            failure = error
        except BaseException:
            failure = RedisConnectionError("The event loop ends.")
            raise
        finally:
            self._flying -= 1
            if isinstance(failure, TimeoutError):
                # Who waits behind it would only find out as much a second later.
                batch, self._waiting = batch + self._waiting, []
            self._land(batch, answers, failure)
            self._take_off()

    def _land(
        self,
        batch: list[tuple[Command, asyncio.Future[Any]]],
        answers: list[Any],
        failure: BaseException | None,
    ) -> None:
        for number, (_, future) in enumerate(batch):
            answer = failure or answers[number]
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        if len(commands) == 1:
            try:
                return [await self._client.execute_command(*commands[0])]
            except RedisError as error:
                return [error]
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers
