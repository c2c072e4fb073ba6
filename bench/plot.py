"""The plot beside the table: plain SVG, no dependency."""
import math
from html import escape

WIDTH, LEFT, GAP = 900, 250, 36
OURS, OTHERS, LINE = "#2563eb", "#94a3b8", "#475569"
COLOURS = ("#2563eb", "#d97706", "#059669", "#be185d")


class Canvas:
    def __init__(self):
        self.parts, self.y = [], 0

    def text(self, x, y, words, anchor="start", size=13, weight="normal", fill="#0f172a"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{fill}">{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, colour="#cbd5e1", dash="", width=1):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>')

    def bar(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height}" rx="2" fill="{colour}"/>')

    def path(self, points, colour):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def title(self, words):
        self.y += GAP
        self.text(20, self.y, words, size=15, weight="bold")
        self.y += 16


def ratios(canvas, known):
    names = (("sweep", "Turnout, sweep", OURS, 0.85), ("shell", "Turnout, sweep through a shell", OURS, 0.85), ("jobs", "Turnout, jobs by REST", OURS, 0.6),
             ("hq", "HyperQueue", OTHERS, None), ("ray", "Ray", OTHERS, None), ("slurm", "Slurm array", OTHERS, None))
    rows = [(label, known[name]["raw"], colour, target) for name, label, colour, target in names if known.get(name, {}).get("raw", {}).get("ratio")]
    if not rows:
        return
    canvas.title("No-op tasks per second, as a share of a bare posix_spawn loop (two in flight)")
    scale = (WIDTH - LEFT - 190) / max(1.0, max(raw["ratio"] for _, raw, _, _ in rows))
    top = canvas.y
    for label, raw, colour, target in rows:
        canvas.text(LEFT - 10, canvas.y + 16, label, "end")
        canvas.bar(LEFT, canvas.y + 3, raw["ratio"] * scale, 18, colour)
        canvas.text(LEFT + raw["ratio"] * scale + 8, canvas.y + 16, f"{raw['ratio']:.2f}  ({raw['rate']:,.0f}/s of {raw['loop']:,.0f}/s)", size=12, fill=LINE)
        if target:
            canvas.line(LEFT + target * scale, canvas.y, LEFT + target * scale, canvas.y + 24, "#dc2626", "3 2", 2)
        canvas.y += 26
    canvas.line(LEFT, top, LEFT, canvas.y, LINE)
    canvas.text(LEFT, canvas.y + 14, "red: the target", size=11, fill="#dc2626")
    canvas.y += 14


def chart(canvas, title, series, x_label, y_label, log_x=False):
    """Lines `(label, [(x, y)…])` from zero upwards."""
    canvas.title(title)
    left, width, height = 80, WIDTH - 80 - 170, 150
    xs = [x for _, points in series for x, _ in points]
    top = max(y for _, points in series for _, y in points) * 1.1
    place = (lambda x: math.log10(x)) if log_x else (lambda x: x)
    low, high = place(min(xs)), place(max(xs))
    at_x = lambda x: left + (place(x) - low) / ((high - low) or 1) * width
    base = canvas.y + height
    at_y = lambda y: base - y / top * height
    for step in range(5):
        value = top * step / 4
        canvas.line(left, at_y(value), left + width, at_y(value))
        canvas.text(left - 8, at_y(value) + 4, f"{value:,.0f}" if top >= 20 else f"{value:.2f}", "end", 11, fill=LINE)
    ticks = sorted(set(xs)) if len(set(xs)) <= 6 else [min(xs) + (max(xs) - min(xs)) * step / 4 for step in range(5)]
    for tick in ticks:
        canvas.text(at_x(tick), base + 15, f"{tick:,.0f}", "middle", 11, fill=LINE)
    for number, (label, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        canvas.path([(at_x(x), at_y(y)) for x, y in points], colour)
        canvas.line(left + width + 14, canvas.y + 12 + 18 * number, left + width + 34, canvas.y + 12 + 18 * number, colour, width=3)
        canvas.text(left + width + 40, canvas.y + 16 + 18 * number, label, size=12)
    canvas.text(left, base + 30, x_label, size=11, fill=LINE)
    canvas.text(20, canvas.y - 2, y_label, size=11, fill=LINE)
    canvas.y = base + 30


def draw(known, where):
    canvas = Canvas()
    ratios(canvas, known)
    held = known.get("held", {}).get("raw", {})
    if len(held.get("chunk_rates", [])) > 1:
        rates = held["chunk_rates"]
        group = max(1, len(rates) // 50)
        points = [((i + group) * held["chunk"], sum(rates[i:i + group]) / group) for i in range(0, len(rates) - group + 1, group)]
        chart(canvas, f"Submitting {held['count']:,} jobs that wait", [("jobs/s", points)], "jobs held", "jobs/s")
        seconds = held["memory"]
        if len(seconds) > 1:
            chart(canvas, "The server's memory meanwhile", [("MiB resident", [(at, size) for at, size in seconds])], "seconds", "MiB")
    rows = known.get("growth", {}).get("raw", {}).get("rows", [])
    if len(rows) > 1:
        series = [(key, [(row["jobs"], row[key]) for row in rows]) for key in ("submit", "get", "list", "explain")]
        chart(canvas, "Cost with more ended jobs in the store", series, "ended jobs (logarithmic)", "ms, p50", log_x=True)
    canvas.text(20, canvas.y + 34, f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, Linux {where['kernel']}", size=11, fill=LINE)
    height = canvas.y + 50
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'font-family="system-ui, sans-serif"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(canvas.parts) + "\n</svg>\n")
