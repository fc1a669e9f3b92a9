"""Draws the plots of docs/scale.md from the file that `bench.scale.page` wrote."""

import json

import matplotlib as mpl

from bench.machine import BUILD
from bench.report import plot

PLOTS = {
    "rate-by-nodes": ("RRpc a second, by nodes, each 70 % busy", "nodes", "RRpc a second", ""),
    "call-by-nodes": ("CPU of an RRpc, all processes", "nodes", "microseconds", ""),
    "cores-by-devices": ("Cores by devices, with the habits of the table", "devices", "cores", "xy"),
}


def main() -> None:
    """Draw them."""
    mpl.rcParams["svg.hashsalt"] = "linkstead"
    points = json.loads((BUILD / "scale-points.json").read_text())
    for name, (title, x, y, scale) in PLOTS.items():
        lines = {line: (axes[0], axes[1]) for line, axes in points[name].items()}
        plot(f"scale-{name}.svg", title, x, y, lines, scale)


if __name__ == "__main__":
    main()
