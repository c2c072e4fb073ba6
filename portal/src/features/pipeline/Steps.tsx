// The steps of a pipeline: who takes whose outputs as a picture, and each of them in a table.
import { Link, useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import type { Document, Step } from "../../api/jobs";
import { number } from "../../lib/bytes";
import { span } from "../../lib/time";
import { Card, StatusBadge } from "../../ui/kit";
import { Pages } from "../sweep/Sweep";
import "./pipeline.css";

const WIDE = 190, HIGH = 50, GAP_X = 56, GAP_Y = 18;

/** Each step behind all whose outputs it takes; within a layer near those it takes from. */
export function layers(steps: Step[]): Map<string, [number, number]> {
    const by = new Map(steps.map((step) => [step.name, step])), depth = new Map<string, number>();
    const deep = (step: Step, seen = new Set<string>()): number => {
        const known = depth.get(step.name);
        if (known !== undefined) return known;
        if (seen.has(step.name)) return 0;
        seen.add(step.name);
        const own = Math.max(-1, ...step.after.map((name) => (by.has(name) ? deep(by.get(name)!, seen) : -1))) + 1;
        depth.set(step.name, own);
        return own;
    };
    steps.forEach((step) => deep(step));
    const place = new Map<string, [number, number]>(), rows: Step[][] = [];
    for (const step of steps) (rows[depth.get(step.name)!] ??= []).push(step);
    rows.forEach((row, x) => {
        const want = (step: Step) => { const ys = step.after.map((name) => place.get(name)?.[1]).filter((y): y is number => y !== undefined); return ys.length ? ys.reduce((a, b) => a + b) / ys.length : 0; };
        row.sort((a, b) => want(a) - want(b)).forEach((step, y) => place.set(step.name, [x, y - (row.length - 1) / 2]));
    });
    return place;
}

export function Steps({ steps, wsid, session, onPage }: { steps: NonNullable<Document["steps"]>; wsid: string; session: boolean; onPage: (page: number) => void }) {
    return (
        <div className="stack">
            {steps.rows.length > 1 && <Card title="How they go together"><Graph steps={steps.rows} wsid={wsid} session={session} /></Card>}
            <Card title={`${number(steps.total)} ${steps.total === 1 ? "step" : "steps"}`} extra={steps.pages > 1 && <Pages page={steps.page} pages={steps.pages} onPage={onPage} />} pad={false}>
                <div className="table-box"><table className="table cards"><thead><tr><th>Step</th><th>Status</th><th>Takes the outputs of</th><th>Compute</th><th className="num">Took</th><th>Why</th></tr></thead><tbody>
                    {steps.rows.map((step) => (
                        <tr key={step.name}><td className="main">{session && step.link ? <Link to="/jobs/$wsid/$job" params={{ wsid, job: step.job }} className="name">{step.name}</Link> : step.link ? <a href={step.link} className="name">{step.name}</a> : step.name}</td><td><StatusBadge status={step.status} /></td><td>{step.after.join(", ")}</td><td>{step.compute}</td><td className="num">{step.micros !== undefined && span(step.micros)}</td><td className="tall soft">{step.why}</td></tr>
                    ))}
                </tbody></table></div>
            </Card>
        </div>
    );
}

function Graph({ steps, wsid, session }: { steps: Step[]; wsid: string; session: boolean }) {
    const navigate = useNavigate();
    const place = useMemo(() => layers(steps), [steps]);
    const xs = [...place.values()], top = Math.min(...xs.map(([, y]) => y)), deep = Math.max(...xs.map(([x]) => x)), tall = Math.max(...xs.map(([, y]) => y)) - top;
    const at = (name: string) => { const [x, y] = place.get(name)!; return [x * (WIDE + GAP_X), (y - top) * (HIGH + GAP_Y)]; };
    const open = (step: Step) => { if (session) navigate({ to: "/jobs/$wsid/$job", params: { wsid, job: step.job } }); else if (step.link) location.assign(step.link); };
    return (
        <div className="graph"><div style={{ width: (deep + 1) * (WIDE + GAP_X) - GAP_X, height: (tall + 1) * (HIGH + GAP_Y) - GAP_Y, position: "relative" }}>
            <svg width="100%" height="100%" aria-hidden="true">
                {steps.flatMap((step) => step.after.filter((name) => place.has(name)).map((name) => {
                    const [ax, ay] = at(name), [bx, by] = at(step.name), x1 = ax + WIDE, y1 = ay + HIGH / 2, y2 = by + HIGH / 2;
                    return <path key={name + step.name} d={`M${x1} ${y1} C${x1 + 28} ${y1} ${bx - 28} ${y2} ${bx} ${y2}`} className="edge" />;
                }))}
            </svg>
            {steps.map((step) => {
                const [x, y] = at(step.name);
                return <button key={step.name} type="button" className="node" style={{ left: x, top: y, width: WIDE, height: HIGH }} disabled={!step.link} onClick={() => open(step)} title={step.why}><b className="cut">{step.name}</b><span className="row small" style={{ flexWrap: "nowrap" }}><StatusBadge status={step.status} /><span className="soft">{step.micros !== undefined && span(step.micros)}</span></span></button>;
            })}
        </div></div>
    );
}
