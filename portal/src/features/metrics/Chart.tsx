// One chart of one or more runs, drawn on a canvas by uPlot when it comes into view.
import { useQueries } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { figure, number } from "../../lib/bytes";
import { span } from "../../lib/time";
import { token } from "../../ui/theme";
import { Button } from "../../ui/kit";
import { series, smooth, type Series } from "./series";
import "./metrics.css";

export interface Line { wsid: string; job: string; words: string }
export interface How { x: "step" | "time" | "relative"; weight: number; log: boolean }
interface Props { metric: string; lines: Line[]; session: boolean; how: How; live?: boolean; value?: string; height?: number }

/** The lines over one axis: each has null where another one has a point. */
export function together(found: Series[], how: How): { data: (number | null)[][]; banded: boolean[] } {
    const xs = new Set<number>();
    const places = found.map((one) => {
        const begin = how.x === "relative" ? (one.time[0] ?? 0) : 0;
        return (how.x === "step" ? one.step : one.time).map((at) => (how.x === "step" ? at : (at - begin) / 1000));
    });
    places.forEach((of) => of.forEach((x) => xs.add(x)));
    const axis = [...xs].sort((a, b) => a - b);
    const at = new Map(axis.map((x, i) => [x, i]));
    const data: (number | null)[][] = [axis];
    const banded: boolean[] = [];
    found.forEach((one, i) => {
        const put = (values: number[]) => {
            const row: (number | null)[] = Array(axis.length).fill(null);
            values.forEach((value, k) => { row[at.get(places[i][k])!] = how.log && value <= 0 ? null : value; });
            data.push(row);
        };
        put(smooth(one.last, how.weight));
        const raw = how.weight > 0;
        const band = !!one.min;
        banded.push(band);
        put(band ? one.max! : raw ? one.last : []);
        put(band ? one.min! : []);
    });
    return { data, banded };
}

export function Chart({ metric, lines, session, how, live, value, height = 190 }: Props) {
    const box = useRef<HTMLDivElement>(null), plot = useRef<uPlot>(null);
    const [near, setNear] = useState(false);
    const [zoom, setZoom] = useState<[number, number]>();
    const [theme, setTheme] = useState(0);
    useEffect(() => {
        const look = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) setNear(true); }, { rootMargin: "200px" });
        look.observe(box.current!);
        const repaint = () => setTheme((n) => n + 1);
        addEventListener("turnout-theme", repaint);
        return () => { look.disconnect(); removeEventListener("turnout-theme", repaint); };
    }, []);
    const answers = useQueries({
        queries: lines.map((line) => ({
            queryKey: ["series", line.job, metric, zoom], enabled: near, queryFn: () => series(line.wsid, line.job, metric, session, zoom),
            refetchInterval: live ? 2000 : (false as const), placeholderData: (before: Series | undefined) => before,
        })),
    });
    const found = answers.map((answer) => answer.data).filter((one): one is Series => !!one);
    const stamp = found.map((one) => `${one.key}${one.points}${one.step[0]}`).join() + JSON.stringify(how) + theme + String(zoom);
    useEffect(() => {
        if (!found.length || !box.current || !found.some((one) => one.step.length)) return;
        const { data, banded } = together(found, how);
        const soft = token("--soft"), grid = token("--line");
        const words = (at: number) => (how.x === "step" ? number(at) : how.x === "time" ? new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }) : span(at * 1e6).replace(".0 ", " "));
        const axis = { stroke: soft, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 }, font: "11px system-ui" };
        const options: uPlot.Options = {
            width: box.current.clientWidth, height, padding: [10, 10, 0, 0],
            legend: { show: false }, cursor: { points: { size: 6 }, drag: { x: true, y: false, setScale: false } },
            scales: { x: { time: false }, y: { distr: how.log ? 3 : 1 } },
            axes: [{ ...axis, size: 28, values: (_, ticks) => ticks.map(words) }, { ...axis, size: 58, values: (_, ticks) => ticks.map((at) => (at === null ? "" : figure(at))) }],
            series: [{}, ...found.flatMap((_, i) => {
                const stroke = token(`--series-${(i % 8) + 1}`);
                const points = { show: found[i].step.length === 1, size: 6, fill: stroke };
                return [{ stroke, width: 1.8, spanGaps: true, points }, { stroke: stroke + "44", width: 1, spanGaps: true, points: { show: false } }, { stroke: stroke + "44", width: 1, spanGaps: true, points: { show: false } }];
            })],
            bands: found.flatMap((_, i) => (banded[i] ? [{ series: [i * 3 + 2, i * 3 + 3] as [number, number], fill: token(`--series-${(i % 8) + 1}`) + "26" }] : [])),
            hooks: {
                setSelect: [(u) => {
                    if (u.select.width > 4 && how.x === "step") setZoom([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
                    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
                }],
                setCursor: [(u) => {
                    const tip = box.current?.querySelector<HTMLElement>(".chart-tip");
                    if (!tip) return;
                    const i = u.cursor.idx;
                    if (i === null || i === undefined) { tip.textContent = ""; return; }
                    const shown = lines.map((line, k) => ({ line, k, at: data[k * 3 + 1]?.[i] })).filter((one) => one.at !== null && one.at !== undefined);
                    tip.textContent = `${how.x === "step" ? "step " : ""}${words(data[0][i]!)}: ` + shown.slice(0, 4).map((one) => (lines.length > 1 ? one.line.words + " " : "") + figure(one.at as number)).join(", ");
                }],
            },
        };
        plot.current = new uPlot(options, data as uPlot.AlignedData, box.current.querySelector<HTMLElement>(".chart-canvas")!);
        const size = new ResizeObserver(() => plot.current?.setSize({ width: box.current!.clientWidth, height }));
        size.observe(box.current);
        return () => { size.disconnect(); plot.current?.destroy(); plot.current = null; };
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [stamp, height]);
    const odd = found.reduce((sum, one) => sum + one.notNumbers, 0);
    const many = found.filter((one) => one.min);
    return (
        <figure className="chart" ref={box}>
            <figcaption><b className="cut grow" title={metric}>{metric}</b>{value !== undefined && <span>{value}</span>}{zoom && <Button kind="small" onPress={() => setZoom(undefined)}>All steps</Button>}</figcaption>
            <div className="chart-canvas" style={{ height }} role="img" aria-label={`${metric}: ${found.map((one) => `${one.points} points, the last ${figure(one.last.at(-1))}`).join("; ")}`} />
            <div className="chart-foot">
                <span className="chart-tip grow cut" />
                {many.length > 0 && <span title="each point stands for as many; the band is from the least to the greatest of them">{number(many[0].step.length)} of {number(many[0].shown)} points</span>}
                {odd > 0 && <span>{number(odd)} not numbers</span>}
                {found.length > 0 && found.every((one) => !one.step.length) && <span>no number among {number(found[0].points)}</span>}
            </div>
        </figure>
    );
}
