// Run a Python file on MicroPython for WebAssembly: what `get.node_micropython()` starts.
//
//     node node_micropython.mjs --package FOLDER [--heap BYTES] [--path FOLDER]... SCRIPT [ARGUMENT]...
//
// The script sees a filesystem of its own, in memory: every --path folder (copied under its own absolute name, and put
// on sys.path) and the .py files beside the script. It has no sockets. stdout is forwarded line by line as it comes.
// Exit status: 0, what sys.exit() was given, or 1 after an exception, whose traceback goes to stderr.
//
// One difference to other ports: here the event loop belongs to JavaScript, so MicroPython has no asyncio.run(). The one
// given here starts its coroutine and returns None at once; this program then waits until it ends. That is the same for
// a script that calls asyncio.run() as its last act.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const USAGE =
  "usage: node node_micropython.mjs --package FOLDER [--heap BYTES] [--path FOLDER]... SCRIPT [ARGUMENT]...";
const HEAP = 4 * 1024 * 1024; // bytes

// What runs before and around the script. `_script`, `_paths` and `_arguments` are set from here.
const PRELUDE = `
import sys, asyncio

_tasks = []
_status = 0

async def _guarded(coroutine):
    # What leaves a task would go to JavaScript, which knows nothing of SystemExit.
    try:
        await coroutine
    except BaseException as error:
        _failed(error)

def _run(coroutine):
    _tasks.append(asyncio.create_task(_guarded(coroutine)))

asyncio.run = _run

def _failed(error):
    global _status
    if isinstance(error, SystemExit):
        code = error.args[0] if error.args else None
        if code is None or isinstance(code, int):
            _status = code or 0
            return
        print(code, file=sys.stderr)
    else:
        sys.print_exception(error, sys.stderr)
    _status = 1

def _main():
    sys.path[:] = [_script.rsplit("/", 1)[0], ".frozen"] + list(_paths)
    sys.argv[:] = [_script] + list(_arguments)
    with open(_script) as file:
        source = file.read()
    try:
        exec(compile(source, _script, "exec"), {"__name__": "__main__", "__file__": _script})
    except BaseException as error:
        _failed(error)
`;

const WAIT = `
for _task in _tasks:
    await _task
`;

function readArguments() {
  // Options end at the script: what follows is the script's.
  const options = { package: { type: "string" }, heap: { type: "string" }, path: { type: "string", multiple: true } };
  const argv = process.argv.slice(2);
  let end = 0;
  while (end < argv.length && argv[end].startsWith("--")) end += argv[end].includes("=") ? 1 : 2;
  const { values } = parseArgs({ args: argv.slice(0, end), options });
  const heap = Number(values.heap ?? HEAP);
  if (!values.package || end >= argv.length || !Number.isInteger(heap)) throw new Error("arguments missing or wrong");
  return {
    package: path.resolve(values.package),
    heap,
    paths: (values.path ?? []).map((folder) => path.resolve(folder)),
    script: path.resolve(argv[end]),
    rest: argv.slice(end + 1),
  };
}

// Forward bytes to a file descriptor a line at a time; call the result's flush() for an unfinished last line.
function forwardLines(descriptor) {
  const line = [];
  const flush = () => {
    const bytes = Buffer.from(line.splice(0));
    for (let done = 0; done < bytes.length; ) done += fs.writeSync(descriptor, bytes, done);
  };
  const write = (bytes) => {
    for (const byte of bytes) {
      line.push(byte);
      if (byte === 10) flush();
    }
  };
  return { write, flush };
}

function copyFile(FS, file) {
  FS.mkdirTree(path.dirname(file));
  FS.writeFile(file, fs.readFileSync(file));
}

function copyFolder(FS, folder) {
  FS.mkdirTree(folder);
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory() && entry.name !== "__pycache__") copyFolder(FS, name);
    else if (entry.isFile()) copyFile(FS, name);
  }
}

function copyBeside(FS, script) {
  const folder = path.dirname(script);
  for (const name of fs.readdirSync(folder)) if (name.endsWith(".py")) copyFile(FS, path.join(folder, name));
  copyFile(FS, script);
}

async function main() {
  let given;
  try {
    given = readArguments();
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    return 2;
  }
  const { loadMicroPython } = await import(pathToFileURL(path.join(given.package, "micropython.mjs")));
  const out = forwardLines(1);
  const err = forwardLines(2);
  const mp = await loadMicroPython({
    heapsize: given.heap,
    linebuffer: false,
    stdout: out.write,
    stderr: err.write,
  });
  for (const folder of given.paths) copyFolder(mp.FS, folder);
  copyBeside(mp.FS, given.script);
  // JSON strings are Python strings, as far as paths and arguments go.
  mp.runPython(PRELUDE);
  mp.runPython(`_script = ${JSON.stringify(given.script)}`);
  mp.runPython(`_paths = ${JSON.stringify(given.paths)}`);
  mp.runPython(`_arguments = ${JSON.stringify(given.rest)}`);
  mp.runPython("_main()");
  await mp.runPythonAsync(WAIT);
  out.flush();
  err.flush();
  return mp.globals.get("_status");
}

let finished = false;

// Node ends by itself, with status 13, when nothing is left that could wake the script.
process.on("exit", () => {
  if (!finished) fs.writeSync(2, "the script waits for what can no longer come: no timer is running\n");
});

let status = 1;
try {
  status = await main();
} catch (error) {
  console.error(error.message); // not the stack: that quotes a source line of 100 KB
}
finished = true;
process.exit(status);
