// The trials of a sweep: the best so far, how parameters and the metric go together, and each trial.
import { Link } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";
import type { Sweep as Data, Trial } from "../../api/jobs";
import { figure, number } from "../../lib/bytes";
import { span } from "../../lib/time";
import { Button, Card, StatusBadge } from "../../ui/kit";
import { Parallel } from "./Parallel";
import { Scores } from "./Scores";
import "./sweep.css";

export function Sweep({ sweep, wsid, session, live, onPage }: { sweep: Data; wsid: string; session: boolean; live: boolean; onPage: (page: number) => void }) {
    const [chosen, setChosen] = useState<Set<string>>();
    const names = useMemo(() => [...new Set([...sweep.rows, ...sweep.sample].flatMap((trial) => Object.keys(trial.parameters)))], [sweep]);
    const brushed = chosen && sweep.sample.filter((trial) => chosen.has(trial.name));
    const rows = brushed ? [...brushed].sort((a, b) => (sweep.maximize ? 1 : -1) * ((b.score ?? 0) - (a.score ?? 0))).slice(0, 100) : sweep.rows;
    const scored = sweep.sample.filter((trial) => trial.score !== undefined);
    return (
        <div className="stack">
            {sweep.best && (
                <Card title={<>Best {live ? "so far" : "trial"}: <TrialLink trial={sweep.best} wsid={wsid} session={session} /></>} extra={<b>{sweep.metric} {figure(sweep.best.score)}</b>}>
                    <div className="row">{Object.entries(sweep.best.parameters).map(([name, value]) => <span className="tag" key={name}>{name}: {value}</span>)}</div>
                </Card>
            )}
            {scored.length > 1 && (
                <div className="cols even">
                    <Card title={`${sweep.metric} of each trial`}><Scores trials={sweep.sample} maximize={sweep.maximize} metric={sweep.metric} /></Card>
                    <Card title="Parameters" extra={chosen && <Button kind="small" onPress={() => setChosen(undefined)}>All trials</Button>}><Parallel trials={sweep.sample} names={names} metric={sweep.metric} maximize={sweep.maximize} onChoose={setChosen} chosen={chosen} /></Card>
                </div>
            )}
            {sweep.stride > 1 && <p className="soft small">The pictures show {number(sweep.sample.length)} of the trials, each {number(sweep.stride)}th and the best.</p>}
            <Card title={brushed ? `${number(brushed.length)} chosen trials` : `${number(sweep.total)} trials`} extra={!brushed && sweep.pages > 1 && <Pages page={sweep.page} pages={sweep.pages} onPage={onPage} />} pad={false}>
                <div className="table-box"><table className="table cards"><thead><tr><th>Trial</th><th>Status</th><th className="num">{sweep.metric}</th>{names.map((name) => <th key={name} className="num">{name}</th>)}<th className="num">Took</th><th>Why</th></tr></thead><tbody>
                    {rows.map((trial) => (
                        <tr key={trial.name}><td className="main"><TrialLink trial={trial} wsid={wsid} session={session} /></td><td><StatusBadge status={trial.status} />{trial.stoppedEarly && <span className="tag">stopped early</span>}</td>
                            <td className="num" data-label={sweep.metric}>{trial.score !== undefined && <b>{figure(trial.score)}</b>}</td>
                            {names.map((name) => <td key={name} className="num" data-label={name}>{short(trial.parameters[name])}</td>)}
                            <td className="num">{trial.micros !== undefined && span(trial.micros)}</td><td className="tall soft">{trial.why}</td></tr>
                    ))}
                </tbody></table></div>
            </Card>
        </div>
    );
}
const short = (value?: string) => (value !== undefined && value !== "" && Number.isFinite(Number(value)) ? figure(Number(value)) : value);

export function TrialLink({ trial, wsid, session }: { trial: { name: string; link?: string }; wsid: string; session: boolean }) {
    if (session) return <Link to="/jobs/$wsid/$job" params={{ wsid, job: trial.name }} className="name">{trial.name}</Link>;
    return trial.link ? <a href={trial.link} className="name">{trial.name}</a> : <>{trial.name}</>;
}
export function Pages({ page, pages, onPage }: { page: number; pages: number; onPage: (page: number) => void }) {
    return <div className="row small"><Button kind="small" isDisabled={page <= 1} onPress={() => onPage(page - 1)}>Newer</Button>page {number(page)} of {number(pages)}<Button kind="small" isDisabled={page >= pages} onPress={() => onPage(page + 1)}>Older</Button></div>;
}

/** A canvas as wide as its place, drawn anew when that or the colours change. */
export function useCanvas(height: number, draw: (context: CanvasRenderingContext2D, width: number) => void, stamp: unknown) {
    const canvas = useRef<HTMLCanvasElement>(null);
    useEffect(() => {
        const el = canvas.current!;
        const paint = () => {
            const width = el.parentElement!.clientWidth, scale = devicePixelRatio || 1;
            el.width = width * scale;
            el.height = height * scale;
            const context = el.getContext("2d")!;
            context.scale(scale, scale);
            context.clearRect(0, 0, width, height);
            context.font = "11px system-ui, sans-serif";
            draw(context, width);
        };
        paint();
        const size = new ResizeObserver(paint);
        size.observe(el.parentElement!);
        addEventListener("turnout-theme", paint);
        return () => { size.disconnect(); removeEventListener("turnout-theme", paint); };
        // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [height, stamp]);
    return canvas;
}
export type { Trial };
