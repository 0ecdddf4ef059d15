"""Checks a ledger of three real nodes with aics-tlog and aics-witness: notes, tiles, leaves, proofs,
cosignatures; and has aics-witness cosign our checkpoints. Run by scripts/interop."""

import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from aics_tlog import HttpTileReader, audit_tiles, parse_checkpoint, parse_note

PATIENCE = 60
VENV = pathlib.Path(sys.executable).parent
done = 0


def run(*args, ok=True):
    """Runs a program; its exit code must be 0, or must not be where `ok` is false."""
    ended = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if (ended.returncode == 0) != ok:
        raise SystemExit(f"interop: {args[0]} ended with {ended.returncode}:\n{args}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def passed(what):
    global done
    done += 1
    print(f"  ✓ {what}", flush=True)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def until(what, look):
    end = time.time() + PATIENCE
    while time.time() < end:
        if found := look():
            return found
        time.sleep(0.2)
    raise SystemExit(f"interop: {what} did not come within {PATIENCE} s")


def size_of(note):
    return int(note.decode().split("\n")[1])


class Ledger:
    """Three nodes in a folder of their own."""

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        self.up()
        self.trust = json.loads((folder / "trust.json").read_text())
        nodes = json.loads((folder / "testnet.json").read_text())["nodes"]
        self.names = [node["name"] for node in nodes]
        self.urls = [f"http://{node['http']}/" for node in nodes]
        self.origin = self.trust["ledger_key"].split("+")[0]

    def up(self):
        run(self.programs / "vermilion-testnet", "up", "--dir", self.folder)

    def down(self):
        run(self.programs / "vermilion-testnet", "down", "--dir", self.folder)

    def grow(self, seconds):
        """Some thousand records."""
        args = ["bench", "--dir", self.folder, "--only", "single-issue", "--seconds", seconds]
        run(self.programs / "vermilion-testnet", *args)

    def settled(self, *more):
        """The newest checkpoint once all nodes show it, with the signature of every node and of `more`."""
        names = [key.split("+")[0] for key in [*self.trust["witnesses"], *more]]

        def look():
            notes = [get(url + "checkpoint") for url in self.urls]
            same = len({size_of(note) for note in notes}) == 1
            return notes[0] if same and all(f"— {name} ".encode() in note for note in notes for name in names) else None

        return until("one checkpoint with all cosignatures", look)

    def tlog(self, verb, *args, ok=True, tiles=True, keys=None):
        """aics-tlog with what is pinned of this ledger, against all nodes at once."""
        keys = keys or self.trust["witnesses"]
        pinned = ["--log-key", self.trust["ledger_key"], "--origin", self.origin, "--quorum", len(keys), "--max-age", 600]
        pinned += [part for key in keys for part in ("--witness-key", key)]
        pinned += [part for url in self.urls if tiles for part in ("--tiles", url)]
        return run(VENV / "aics-tlog", verb, *pinned, *args, ok=ok)


def notes_and_tiles(ledger, folder):
    ledger.grow(0.3)
    old = folder / "old.note"
    old.write_bytes(ledger.settled())
    ledger.tlog("verify-checkpoint")
    passed("notes of all nodes: ledger signature, every cosignature, freshness, no split view")

    ledger.grow(0.3)
    note = ledger.settled()
    size = size_of(note)
    # The signatures of this note are checked above and below; here each tile against its root.
    root = parse_checkpoint(parse_note(note).text).root
    for url in ledger.urls:
        audit_tiles(HttpTileReader([url]), size, root)
    passed(f"every tile and every leaf of {size} records, from each node by itself")

    for index in sorted({0, 1, 255, 256, size // 2, size - 1}):
        ledger.tlog("verify-inclusion", "--index", index)
    passed("inclusion of the first, the last and others, proved from tiles")

    ledger.tlog("verify-consistency", "--old-checkpoint", old)
    passed(f"the tree of {size} continues that of {size_of(old.read_bytes())}, proved from tiles")

    ours = json.loads(get(f"{ledger.urls[2]}v1/consistency?from={size_of(old.read_bytes())}&to={size}"))
    proof = folder / "proof"
    proof.write_text("".join(line + "\n" for line in ours["proof"]))
    roots = [ours[key].split("\n")[2] for key in ("from_checkpoint", "to_checkpoint")]
    args = ["--old-size", ours["from"], "--new-size", ours["to"], "--old-root", roots[0], "--new-root", roots[1], "--proof", proof]
    run(VENV / "aics-tlog", "verify-consistency", *args)
    passed("our own consistency proof")
    args[7] = roots[0]
    run(VENV / "aics-tlog", "verify-consistency", *args, ok=False)

    bad = folder / "bad.note"
    lines = note.decode().split("\n")
    lines[1] = str(size + 1)
    bad.write_text("\n".join(lines))
    ledger.tlog("verify-checkpoint", "--note", bad, tiles=False, ok=False)
    bad.write_bytes(b"\n".join(line for line in note.split(b"\n") if not line.startswith(f"— {ledger.origin}/city ".encode())))
    ledger.tlog("verify-checkpoint", "--note", bad, tiles=False, ok=False)
    passed("a changed note, a missing cosignature and a wrong root are refused by it")


def witness(ledger, folder):
    config = folder / "witness.json"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = VENV / "aics-witness"
    run(program, "init", "-c", config, "--name", "witness.example/w1", "--listen", address, "--db", "witness.db", "--key-file", "witness.key")
    run(program, "add-log", "-c", config, "--origin", ledger.origin, "--vkey", ledger.trust["ledger_key"])

    def state():
        return json.loads(run(program, "status", "-c", config, "--json"))

    key = state()["witness"]["vkey"]
    with (folder / "witness.log").open("w") as output:
        serving = subprocess.Popen([program, "serve", "-c", config], stdout=output, stderr=output)
        try:
            ledger.down()
            table = f'\n[[witness]]\nkey = "{key}"\nurl = "http://{address}"\n[witnesses]\nneed = 1\notherwise = "closed"\n'
            for name in ledger.names:
                with (ledger.folder / "nodes" / name / "node.toml").open("a") as toml:
                    toml.write(table)
            ledger.up()
            ledger.grow(0.3)
            note = ledger.settled(key)
            ledger.tlog("verify-checkpoint", keys=[*ledger.trust["witnesses"], key])
            ledger.grow(0.3)
            newer = ledger.settled(key)
            assert size_of(newer) > size_of(note)
            ledger.tlog("verify-checkpoint", keys=[*ledger.trust["witnesses"], key])
            passed("aics-witness cosigns our checkpoints, and aics-tlog counts its cosignature")
            [log] = state()["logs"]
            assert log["origin"] == ledger.origin and log["size"] >= size_of(newer) and log["evidence"] == 0, log
            passed(f"it stands at {log['size']} records and kept no evidence against us")
        finally:
            serving.terminate()
            serving.wait()


def main():
    programs = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="vermilion-interop-") as folder:
        folder = pathlib.Path(folder)
        ledger = Ledger(programs, folder / "ledger")
        print(f"aics-tlog and aics-witness against {', '.join(ledger.urls)}", flush=True)
        try:
            notes_and_tiles(ledger, folder)
            witness(ledger, folder)
        finally:
            ledger.down()
    print(f"{done} of {done} hold")


main()
