import { useState } from "react";
import type { Metric } from "../../api/jobs";
import { number } from "../../lib/bytes";
import { Button, Card, Empty, SearchBox } from "../../ui/kit";
import { Chart, type How } from "./Chart";

const SHOWN = 24; // charts at once; more are asked for

export function HowBar({ how, onChange }: { how: How; onChange: (how: How) => void }) {
    return (
        <div className="how">
            <label>Along <select className="input" value={how.x} onChange={(event) => onChange({ ...how, x: event.target.value as How["x"] })}><option value="step">steps</option><option value="relative">time since its first</option><option value="time">time of day</option></select></label>
            <label title="y'(i) = Σ w^(i-k) y(k) / Σ w^(i-k): a debiased exponential moving average; the raw line stays, faint">Smooth {how.weight ? how.weight.toFixed(2) : "off"}<input type="range" min="0" max="0.99" step="0.01" value={how.weight} onChange={(event) => onChange({ ...how, weight: Number(event.target.value) })} /></label>
            <button type="button" className="chip" aria-pressed={how.log} onClick={() => onChange({ ...how, log: !how.log })}>log scale</button>
        </div>
    );
}

export function Metrics({ wsid, job, metrics, session, live }: { wsid: string; job: string; metrics: Metric[]; session: boolean; live: boolean }) {
    const [how, setHow] = useState<How>({ x: "step", weight: 0, log: false });
    const [part, setPart] = useState("");
    const [most, setMost] = useState(SHOWN);
    if (!metrics.length) return <Card pad={false}><Empty title="No metric was logged" command={'import mlflow\nmlflow.log_metric("loss", 0.25, step=1)'}><span>A script logs them with MLflow; nothing has to be set up inside a job.</span></Empty></Card>;
    const found = metrics.filter((metric) => metric.key.toLowerCase().includes(part.toLowerCase()));
    return (
        <div className="stack">
            <div className="row"><SearchBox label="Part of a metric's name" value={part} onChange={setPart} wait={100} /><span className="soft small">{number(found.length)} of {number(metrics.length)}</span><span className="grow" /><HowBar how={how} onChange={setHow} /></div>
            <div className="charts">{found.slice(0, most).map((metric) => <Chart key={metric.key} metric={metric.key} value={metric.words} lines={[{ wsid, job, words: job }]} session={session} how={how} live={live} />)}</div>
            {found.length > most && <div><Button onPress={() => setMost(most + SHOWN)}>{number(found.length - most)} more</Button></div>}
        </div>
    );
}
