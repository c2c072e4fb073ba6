// Parallel coordinates: an axis for each parameter, a line for each trial, the stronger the better.
// Dragging along an axis chooses the trials that go through there.
import { useEffect, useMemo, useRef, useState } from "react";
import { figure } from "../../lib/bytes";
import { token } from "../../ui/theme";
import { useCanvas, type Trial } from "./Sweep";

interface Axis { name: string; place: (trial: Trial) => number | undefined; low: string; high: string }
const TOP = 26, BOTTOM = 20;

function axisOf(name: string, trials: Trial[], value: (trial: Trial) => string | number | undefined): Axis | undefined {
    const values = trials.map(value).filter((one) => one !== undefined && one !== "");
    if (new Set(values.map(String)).size < 2) return undefined;
    if (values.every((one) => Number.isFinite(Number(one)))) {
        const numbers = values.map(Number), low = Math.min(...numbers), high = Math.max(...numbers);
        const log = low > 0 && high / low > 50, of = (v: number) => (log ? Math.log(v) : v);
        return { name: log ? `${name} (log)` : name, low: figure(low), high: figure(high), place: (trial) => { const v = value(trial); return v === undefined || v === "" ? undefined : (of(Number(v)) - of(low)) / (of(high) - of(low)); } };
    }
    const words = [...new Set(values.map(String))].sort();
    return { name, low: words[0], high: words[words.length - 1], place: (trial) => { const at = words.indexOf(String(value(trial))); return at < 0 ? undefined : at / (words.length - 1); } };
}

export function Parallel({ trials, names, metric, maximize, chosen, onChoose }: { trials: Trial[]; names: string[]; metric: string; maximize: boolean; chosen?: Set<string>; onChoose: (names?: Set<string>) => void }) {
    const height = 220;
    const scored = useMemo(() => trials.filter((trial) => trial.score !== undefined), [trials]);
    const axes = useMemo(() => [...names.map((name) => axisOf(name, scored, (trial) => trial.parameters[name])), axisOf(metric, scored, (trial) => trial.score)].filter((one): one is Axis => !!one), [names, scored, metric]);
    const [brush, setBrush] = useState<{ axis: number; from: number; to: number }>();
    const width = useRef(300);
    const x = (i: number) => 40 + (i / Math.max(1, axes.length - 1)) * (width.current - 80);
    const y = (place: number) => TOP + (1 - place) * (height - TOP - BOTTOM);
    useEffect(() => { if (!chosen) setBrush(undefined); }, [chosen]);
    const canvas = useCanvas(height, (context, wide) => {
        width.current = wide;
        const scores = scored.map((trial) => trial.score!), low = Math.min(...scores), high = Math.max(...scores);
        const accent = token("--accent"), soft = token("--soft");
        for (const trial of [...scored].sort((a, b) => (maximize ? a.score! - b.score! : b.score! - a.score!))) {
            const good = (trial.score! - low) / (high - low || 1), strength = maximize ? good : 1 - good, on = !chosen || chosen.has(trial.name);
            context.strokeStyle = on ? accent : token("--line");
            context.globalAlpha = on ? 0.15 + 0.8 * strength ** 2 : 0.6;
            context.lineWidth = on && strength === 1 ? 2.4 : 1.2;
            context.beginPath();
            let begun = false;
            axes.forEach((axis, i) => { const place = axis.place(trial); if (place === undefined) return; if (begun) context.lineTo(x(i), y(place)); else context.moveTo(x(i), y(place)); begun = true; });
            context.stroke();
        }
        context.globalAlpha = 1;
        axes.forEach((axis, i) => {
            context.strokeStyle = token("--line-strong");
            context.lineWidth = 1;
            context.beginPath();
            context.moveTo(x(i), TOP);
            context.lineTo(x(i), height - BOTTOM);
            context.stroke();
            context.fillStyle = token("--ink");
            context.textAlign = i === 0 ? "left" : i === axes.length - 1 ? "right" : "center";
            const at = i === 0 ? x(i) - 34 : i === axes.length - 1 ? x(i) + 34 : x(i);
            context.fillText(axis.name, at, 10);
            context.fillStyle = soft;
            context.fillText(axis.high, at, 22);
            context.fillText(axis.low, at, height - 5);
        });
        if (brush) {
            context.fillStyle = accent;
            context.globalAlpha = 0.25;
            context.fillRect(x(brush.axis) - 8, y(Math.max(brush.from, brush.to)), 16, Math.abs(y(brush.from) - y(brush.to)));
            context.globalAlpha = 1;
        }
    }, [trials, chosen, brush, axes]);
    if (axes.length < 2) return <p className="soft">No parameter differs among the trials with a score.</p>;
    const placeOf = (event: React.PointerEvent) => {
        const rect = canvas.current!.getBoundingClientRect(), at = event.clientX - rect.left;
        let axis = 0;
        axes.forEach((_, i) => { if (Math.abs(x(i) - at) < Math.abs(x(axis) - at)) axis = i; });
        return { axis, place: Math.max(0, Math.min(1, 1 - (event.clientY - rect.top - TOP) / (height - TOP - BOTTOM))) };
    };
    const end = () => {
        if (!brush) return;
        const low = Math.min(brush.from, brush.to), high = Math.max(brush.from, brush.to);
        if (high - low < 0.02) { setBrush(undefined); return onChoose(undefined); }
        onChoose(new Set(scored.filter((trial) => { const place = axes[brush.axis].place(trial); return place !== undefined && place >= low && place <= high; }).map((trial) => trial.name)));
    };
    return (
        <canvas ref={canvas} className="canvas brush" style={{ height }} role="img" aria-label={`${scored.length} trials by ${axes.map((axis) => axis.name).join(", ")}`}
            onPointerDown={(event) => { const { axis, place } = placeOf(event); (event.target as HTMLElement).setPointerCapture(event.pointerId); setBrush({ axis, from: place, to: place }); }}
            onPointerMove={(event) => { if (event.buttons && brush) setBrush({ ...brush, to: placeOf(event).place }); }} onPointerUp={end} />
    );
}
