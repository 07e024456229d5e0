# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
"""Draws a Grafana dashboard with matplotlib.

draw.py PROMETHEUS_URL SECONDS DASHBOARD.json PICTURE.png

Asks a Prometheus the queries of the dashboard, over the last SECONDS, and draws
the answers panel by panel, in the places and units that the dashboard gives
them. It knows the kinds of panels that the dashboard has.
"""

import io
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime, timezone

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

URL, SECONDS, DASHBOARD, PICTURE = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
END = time.time()
STEP = max(2, SECONDS // 150)
PAGE, PANEL, INK, FAINT, LINE = "#111217", "#1b1e24", "#d8d9da", "#8e8e8e", "#2c3038"
COLOURS = {"green": "#73bf69", "red": "#f2495c", "orange": "#ff9830", "blue": "#5794f2", "text": INK}
SHADES = {"red": ["#f2495c", "#c4162a", "#ff7383", "#8f1d2c", "#ffa6b0"]}
CYCLE = ["#73bf69", "#5794f2", "#f2cc0c", "#b877d9", "#ff9830", "#f2495c", "#8ab8ff", "#ffa6b0"]
WIDTH, UNIT = 24, 0.30  # columns; inches for one unit of height


def ask(path, **query):
    with urllib.request.urlopen(f"{URL}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)["data"]["result"]


def series(panel):
    """Yields the name and the answer of each series of a panel."""
    for target in panel["targets"]:
        expr = target["expr"].replace("$__rate_interval", "30s")
        expr = re.sub(r"\$(job|mount|config)", ".+", expr)
        if target.get("instant") or panel["type"] == "stat":
            found = ask("query", query=expr, time=END)
        else:
            found = ask("query_range", query=expr, start=END - SECONDS, end=END, step=STEP)
        for one in found:
            name = re.sub(r"{{(\w+)}}", lambda m: one["metric"].get(m[1], ""), target["legendFormat"])
            yield name, one


def properties(panel, name):
    """Returns what the overrides of the panel say of a series."""
    out = {}
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        if matcher["id"] == "byName" and matcher["options"] == name or matcher["id"] == "byRegexp" and re.search(matcher["options"].strip("/"), name):
            out.update({p["id"]: p["value"] for p in override["properties"]})
    return out


def colour(name):
    return COLOURS.get(name, name)


def shade_of(extra, i):
    """Returns the colour of series i, of which the overrides say extra."""
    if "color" not in extra:
        return CYCLE[i % len(CYCLE)]
    name = extra["color"]["fixedColor"]
    return SHADES[name][i % len(SHADES[name])] if extra["color"]["mode"] == "shades" else colour(name)


def threshold(panel, value):
    """Returns the colour that the thresholds of the panel give a value."""
    chosen = None
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"]:
        if step["value"] is None or value >= step["value"]:
            chosen = step["color"]
    return colour(chosen or "text")


def text(value, unit):
    """Writes a value as Grafana does in that unit."""
    if value != value:
        return "–"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit == "s":
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{1000 * value:.3g} ms"
    suffix = {"reqps": " req/s", "cpm": "/min", "d": " d"}.get(unit, "")
    return f"{value:.3g}{suffix}"


def timeseries(ax, panel):
    defaults = panel["fieldConfig"]["defaults"]
    drawn = []
    for i, (name, one) in enumerate(series(panel)):
        extra = properties(panel, name)
        drawn.append((extra.get("displayName", name).strip(), shade_of(extra, i), {t: float(v) for t, v in one["values"]}))
    if defaults["custom"].get("stacking"):
        times = sorted({t for _, _, points in drawn for t in points})
        ax.stackplot([datetime.fromtimestamp(t, timezone.utc) for t in times], [[p.get(t, 0) for t in times] for _, _, p in drawn],
                     labels=[n for n, _, _ in drawn], colors=[c for _, c, _ in drawn], alpha=0.75, linewidth=0)
    else:
        for name, shade, points in drawn:
            points = {t: v for t, v in points.items() if v == v}
            if not defaults["custom"]["spanNulls"]:  # a line ends where there are no values
                points.update({t + STEP: float("nan") for t in points if t + STEP not in points and t + STEP < END})
                points = dict(sorted(points.items()))
            ax.plot([datetime.fromtimestamp(t, timezone.utc) for t in points], list(points.values()), color=shade, label=name, linewidth=1.1)
    ax.set_xlim(datetime.fromtimestamp(END - SECONDS, timezone.utc), datetime.fromtimestamp(END, timezone.utc))
    ax.set_ylim(0, defaults.get("max") or ax.get_ylim()[1] * 1.08)
    ax.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    ax.xaxis.set_major_locator(matplotlib.dates.AutoDateLocator(minticks=4, maxticks=7))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: text(v, defaults.get("unit"))))
    ax.grid(color=LINE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=FAINT, labelsize=7, length=0)
    if drawn:
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13), ncol=8, fontsize=7, frameon=False, labelcolor=INK,
                  handlelength=1, columnspacing=1, borderpad=0, labelspacing=0.2)


def stat(ax, panel):
    ax.axis("off")
    shown = list(series(panel))
    for i, (name, one) in enumerate(shown):
        value = float(one["value"][1])
        extra = properties(panel, name)
        options = panel["options"]
        shade = shade_of(extra, i) if extra else threshold(panel, value)
        words = name if options["textMode"] == "name" else text(value, panel["fieldConfig"]["defaults"].get("unit"))
        left, width = i / len(shown), 1 / len(shown)
        if options["colorMode"] == "background":
            ax.add_patch(plt.Rectangle((left + 0.01, 0), width - 0.02, 1, color=shade, alpha=0.85, transform=ax.transAxes))
            shade = "white"
        if options["textMode"] == "value_and_name":
            ax.text(left + width / 2, 0.82, name, color=shade, fontsize=8, ha="center", va="center", transform=ax.transAxes)
        ax.text(left + width / 2, 0.42, words, color=shade, fontsize=9 if options["textMode"] == "name" else 17, ha="center", va="center", transform=ax.transAxes)


def table(ax, panel):
    ax.axis("off")
    hidden = panel["transformations"][0]["options"]["excludeByName"]
    rows = [{k: v for k, v in one["metric"].items() if not hidden.get(k)} for _, one in series(panel)]
    columns = sorted({k for row in rows for k in row}, key=lambda k: (k != "alertname", k))
    widest = [max([len(c)] + [len(row.get(c, "")) for row in rows]) + 2 for c in columns]
    if len(rows) > 7:
        rows[6:] = [{columns[0]: f"… and {len(rows) - 6} more"}] if columns else []
    for line, row in enumerate([dict(zip(columns, columns))] + rows):
        x = 0
        for column, chars in zip(columns, widest):
            shade = FAINT if line == 0 else {"critical": COLOURS["red"], "failing": COLOURS["red"], "warning": COLOURS["orange"], "old token": COLOURS["orange"]}.get(row.get(column), INK)
            ax.text(x, 0.97 - line * 0.115, row.get(column, ""), color=shade, fontsize=8, va="top", transform=ax.transAxes)
            x += chars / max(sum(widest), 40)


def bargauge(ax, panel):
    defaults = panel["fieldConfig"]["defaults"]
    shown = [(name, float(one["value"][1])) for name, one in series(panel)]
    for i, (name, value) in enumerate(reversed(shown)):
        ax.barh(i, defaults["max"], color=LINE, height=0.55)
        ax.barh(i, min(value, defaults["max"]), color=threshold(panel, value), height=0.55)
        ax.text(defaults["max"] * 1.01, i, text(value, defaults["unit"]), color=threshold(panel, value), fontsize=9, va="center")
    ax.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    ax.set_xlim(0, defaults["max"] * 1.1)
    ax.tick_params(colors=INK, labelsize=8, length=0, labelbottom=False)


def main():
    with open(DASHBOARD, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = plt.figure(figsize=(15, height * UNIT), facecolor=PAGE)
    inches = {"left": 0.62, "top": 0.30, "bottom": 0.42, "right": 0.12}
    for panel in panels:
        g = panel["gridPos"]
        x, w = g["x"] / WIDTH, g["w"] / WIDTH
        y, h = 1 - (g["y"] + g["h"]) / height, g["h"] / height
        if panel["type"] == "row":
            figure.text(x + 0.006, y + h / 2, panel["title"], color=INK, fontsize=11, weight="bold", va="center")
            continue
        gap_x, gap_y = 0.05 / 15, 0.04 / (height * UNIT)
        figure.add_artist(plt.Rectangle((x + gap_x, y + gap_y), w - 2 * gap_x, h - 2 * gap_y, facecolor=PANEL, edgecolor=LINE, linewidth=0.6, zorder=-1))
        figure.text(x + 0.008, y + h - 0.15 / (height * UNIT), panel["title"], color=INK, fontsize=9, va="center")
        draws = {"timeseries": timeseries, "stat": stat, "table": table, "bargauge": bargauge}[panel["type"]]
        room = dict(inches)
        if draws in (stat, table):
            room.update(left=0.15, bottom=0.12)
        if draws is bargauge:
            room.update(left=1.5, bottom=0.15)
        ax = figure.add_axes([x + room["left"] / 15, y + room["bottom"] / (height * UNIT), w - (room["left"] + room["right"]) / 15,
                              h - (room["top"] + room["bottom"]) / (height * UNIT)], facecolor=PANEL)
        for spine in ax.spines.values():
            spine.set_visible(False)
        draws(ax, panel)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80, facecolor=PAGE)
    Image.open(drawn).convert("RGB").quantize(128).save(PICTURE, optimize=True)


main()
