"""Lines of an agent that are no messages are answered, and the messages between them reach it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
from mcp.server.mcpserver import MCPServer
from vlar.apps.serve.agent import checked_lines
server = MCPServer(name="small")
def double(x: int) -> int:
    "Twice a number."
    print("a stray line")
    return 2 * x
server.add_tool(double)
with checked_lines():
    server.run("stdio")
"""
CHECKOUT = Path(__file__).resolve().parents[4]
BEGIN = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-03-26", "capabilities": {},
               "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip


def call(number: int, x: int) -> bytes:
    params = {"name": "double", "arguments": {"x": x}}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(message).encode()


def test_each_line_that_is_no_message_is_answered(tmp_path: Path):
    lines = [
        json.dumps(BEGIN).encode(),
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        b"{", b"\xff\xfe", b"[" * 100_000, b"[1, 2]", b'{"id": 7}', b"", b"NaN",
        b'{"jsonrpc": "2.0", "id": 8, "method": "a", "method": "b"}',
        b"x" * (20 << 20),
        call(9, 21),
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdin.write(b"\n".join(lines) + b"\n")
        server.stdin.flush()
        answers: list[Any] = []
        while not answers or answers[-1]["id"] != 9:
            answers.append(json.loads(server.stdout.readline()))
        server.stdin.close()
        printed = server.stderr.read()
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    refused = [answer for answer in answers if "error" in answer]
    assert [answer["error"]["code"] for answer in refused] == [
        -32700, -32700, -32700, -32600, -32600, -32700, -32700, -32600
    ]  # fmt: skip
    assert [answer["id"] for answer in refused] == [None] * 4 + [7] + [None] * 3
    assert "longer than 8 MB" in refused[-1]["error"]["message"]
    (last,) = (answer for answer in answers if answer["id"] == 9)
    assert last["result"]["content"][0]["text"] == "42"
    assert b"a stray line" in printed
