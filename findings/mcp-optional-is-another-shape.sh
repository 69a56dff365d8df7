#!/bin/sh
# MCP tools in Python: "| None" behind a type changes what is sent and what arrives, for values that are there as well.
#
# Versions: mcp 2.3.0 (PyPI; Python 3.11) asked by @modelcontextprotocol/sdk 1.32.2 (npm; Node 20) over stdio.
# One guesses: a tool whose argument or result becomes optional answers those who give or get a value as before.
# Seen: a text for `str | None` that reads as a JSON object or list is parsed, and then refused for being no text; "null"
# arrives as None. For `str` both arrive as they are. A result of type Model is sent as its fields, and one of
# `Model | None` within "result", so that every client's path into it breaks. A bare `dict` has no structured content at
# all, a `dict[str, int]` has. An exception's text, sent up to 2.0, is withheld, unless it is a ToolError.
# Output (tool and argument, the structured content or the text that the TypeScript client gets):
#   text: str           {"a":1}  structured {"result":"{\"a\":1}"}
#   text: str | None    {"a":1}  error
#   text: str | None    null     structured {"result":"nothing"}
#   -> Point                     structured {"x":1}
#   -> Point | None              structured {"result":{"x":1}}
#   -> dict[str, int]            structured {"x":1}
#   -> dict                      text only
#   raise ValueError             error Error executing tool value_error
#   raise ToolError              error Error executing tool tool_error: why
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund @modelcontextprotocol/sdk@1.32.2 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mcp==2.3.0
cat > server.py <<'PYTHON'
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("shapes")


class Point(BaseModel):
    x: int


@server.tool()
def required(text: str) -> str:
    return text


@server.tool()
def optional(text: str | None) -> str:
    return text or "nothing"


@server.tool()
def point() -> Point:
    return Point(x=1)


@server.tool()
def maybe_point() -> Point | None:
    return Point(x=1)


@server.tool()
def typed() -> dict[str, int]:
    return {"x": 1}


@server.tool()
def bare() -> dict:
    return {"x": 1}


@server.tool()
def value_error() -> str:
    raise ValueError("why")


@server.tool()
def tool_error() -> str:
    raise ToolError("why")


server.run()
PYTHON
cat > check.mjs <<'JS'
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

const client = new Client({ name: 'check', version: '1' });
await client.connect(new StdioClientTransport({ command: 'venv/bin/python', args: ['server.py'], stderr: 'ignore' }));
const call = async (name, argument) => {
  const { isError, structuredContent, content } = await client.callTool({ name, arguments: argument && { text: argument } });
  if (isError) return argument ? 'error' : `error ${content[0].text}`;
  return structuredContent ? `structured ${JSON.stringify(structuredContent)}` : 'text only';
};
const text = '{"a":1}';
const wanted = [
  ['text: str', 'required', text, `structured ${JSON.stringify({ result: text })}`],
  ['text: str | None', 'optional', text, 'error'],
  ['text: str | None', 'optional', 'null', 'structured {"result":"nothing"}'],
  ['-> Point', 'point', undefined, 'structured {"x":1}'],
  ['-> Point | None', 'maybe_point', undefined, 'structured {"result":{"x":1}}'],
  ['-> dict[str, int]', 'typed', undefined, 'structured {"x":1}'],
  ['-> dict', 'bare', undefined, 'text only'],
  ['raise ValueError', 'value_error', undefined, 'error Error executing tool value_error'],
  ['raise ToolError', 'tool_error', undefined, 'error Error executing tool tool_error: why'],
];
let changed = false;
for (const [what, name, argument, answer] of wanted) {
  const seen = await call(name, argument);
  console.log(what.padEnd(19), (argument ?? '').padEnd(8), seen);
  changed ||= seen !== answer;
}
await client.close();
process.exit(changed ? 1 : 0);
JS
node check.mjs
