"""A Triton that is killed under its callers, and comes back."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lookonce.errors import BackendUnavailable, LocalTritonFailed
from lookonce.inference.port import Call
from lookonce.inference.triton import Triton
from lookonce.local.environment import Environment
from lookonce.local.triton import Plan, serving

pytestmark = pytest.mark.live


async def test_a_triton_killed_under_a_call_is_unavailable_until_it_is_back(
    triton_environment: Environment,
    lay_model: Callable[..., Path],
    plan_for: Callable[..., Plan],
    call_of: Callable[..., Call],
    tmp_path: Path,
) -> None:
    for name in ("echo", "slow"):
        lay_model(tmp_path, name)
    plan = plan_for(tmp_path)
    with serving(triton_environment, plan) as first:
        triton = Triton(first.endpoint.grpc_url)
        assert (await triton.infer(call_of())).shape == (1, 5, 6)
        waiting = asyncio.create_task(triton.infer(call_of("slow")))
        await asyncio.sleep(0.2)
        os.kill(first.endpoint.pid, signal.SIGKILL)
        with pytest.raises(BackendUnavailable):
            await waiting
        with pytest.raises(LocalTritonFailed, match="Triton died of SIGKILL; its log is"):
            await first.watch()
        with pytest.raises(BackendUnavailable):
            await triton.infer(call_of())
    with serving(triton_environment, plan):
        assert (await back(triton, call_of())).shape == (1, 5, 6)
        await triton.close()


async def back(triton: Triton, call: Call) -> object:
    async with asyncio.timeout(20):
        while True:
            try:
                return await triton.infer(call)
            except BackendUnavailable:
                await asyncio.sleep(0.05)
