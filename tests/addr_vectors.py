#!/usr/bin/env python3
"""The isemail address vectors against addr_parse. They lie outside the tree: POSTERN_SHARED, or ../shared beside
the source. Without them the test is skipped."""
import json
import os
import subprocess
import sys

srcdir = os.environ.get("srcdir", ".")
builddir = os.environ.get("builddir", ".")
places = [os.environ.get("POSTERN_SHARED"), srcdir + "/../shared", srcdir + "/../../shared"]
files = [p + "/vectors/addresses/isemail-given.json" for p in places if p]
found = [f for f in files if os.path.exists(f)]
if not found:
    print("1..0 # SKIP no vectors; set POSTERN_SHARED")
    sys.exit(0)

with open(found[0], encoding="ascii") as f:
    cases = json.load(f)["cases"]
lines = "".join(c["address"].encode("utf-8").hex() + "\n" for c in cases)
run = subprocess.run([builddir + "/tests/addrcheck"], input=lines, stdout=subprocess.PIPE, text=True, check=True)
answers = run.stdout.splitlines()

print(f"1..{len(cases) + 1}")
print("ok" if len(answers) == len(cases) else "not ok", "1 - one answer for each address")
for n, (case, answer) in enumerate(zip(cases, answers), 2):
    verdict = answer.split(" ", 1)[0]
    good = case["want"] in ("either", verdict)
    # No "#" in the description: it would begin a TAP directive.
    print("ok" if good else "not ok", f"{n} - {case['id']} {verdict}")
    if not good:
        print(f"# {case['address']!a} ({case['diagnosis']}): wanted {case['want']}, got: {answer}")
