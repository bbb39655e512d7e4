"""Writes a bill of materials (CycloneDX) for each lock and looks its packages up among known advisories.

`make audit` runs it with the tools of requirements/audit.lock. Exit status: 0, or 1 if a package has an advisory. A
package that the database does not answer for is counted and is no failure, but it was not audited either.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

TOOLS = pathlib.Path(sys.executable).parent


def main(locks_dir: str, output_dir: str) -> int:
    """Audits every lock in a folder; returns the exit status."""
    output = pathlib.Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    advisories = 0
    for lock in sorted(pathlib.Path(locks_dir).glob("*.lock")):
        bill = output / f"{lock.stem}.cdx.json"
        subprocess.run([TOOLS / "cyclonedx-py", "requirements", lock, "--output-file", bill], check=True)
        lines, found = summary(lock.name, _report(lock))
        print(f"{lock.name}: {bill}", *lines, sep="\n", flush=True)
        advisories += found
    return int(advisories > 0)


def _report(lock: pathlib.Path) -> dict[str, list[dict[str, object]]]:
    flags = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    done = subprocess.run([TOOLS / "pip-audit", *flags, "-r", lock], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:  # It writes no report where the database cannot be reached.
        last = done.stderr.strip().splitlines()[-1:] or ["pip-audit wrote no report"]
        return {"dependencies": [{"name": "every package", "version": "", "skip_reason": last[0]}]}


def summary(lock: str, report: dict) -> tuple[list[str], int]:
    """Returns what to print of a report of pip-audit, and the number of advisories in it.

    Args:
        lock: The lock's name.
        report: The report, as its json format has it.
    """
    lines, found = [], 0
    packages = report["dependencies"]
    for package in packages:
        for advisory in package.get("vulns", ()):
            found += 1
            fixed = ", ".join(advisory["fix_versions"]) or "no release yet"
            lines.append(f"  {package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}")
    skipped = [package for package in packages if "skip_reason" in package]
    lines.append(f"  {found} advisories in {len(packages) - len(skipped)} packages that were looked up")
    if skipped:
        lines.append(f"  NOT looked up: {len(skipped)} in {lock}, the first because: {skipped[0]['skip_reason']}")
    return lines, found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
