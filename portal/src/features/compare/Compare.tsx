// Runs side by side: what differs among them, and their metrics in the same charts.
import { useQueries } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { shortId } from "../../api/client";
import { computeOf, document_, rows, type Document } from "../../api/jobs";
import { number } from "../../lib/bytes";
import { useSession, wsidOf } from "../../ui/Frame";
import { Icon } from "../../ui/icons";
import { Button, Card, Dialog, Empty, ErrorBox, PageHead, SearchBox, Skeleton, StatusBadge, useQuery, useTitle } from "../../ui/kit";
import { Chart, type How } from "../metrics/Chart";
import { HowBar } from "../metrics/Metrics";

const MOST = 12;

export function Compare() {
    useTitle("Compare");
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const wsid = wsidOf(useSession().workspace);
    const names = (search.jobs ?? "").split(",").filter(Boolean).slice(0, MOST);
    const all = !!search.all;
    const [how, setHow] = useState<How>({ x: "step", weight: 0, log: false });
    const [adding, setAdding] = useState(false);
    const found = useQueries({ queries: names.map((name) => ({ queryKey: ["job", name, undefined, true], queryFn: () => document_(wsid, name, true) })) });
    const set = (change: Record<string, string | undefined>) => navigate({ to: "/compare", search: Object.fromEntries(Object.entries({ ...search, ...change }).filter(([, value]) => value)) as any, replace: true });
    const docs = found.map((one) => one.data).filter((one): one is Document => !!one);
    const problem = found.find((one) => one.error && !one.data);
    const lines = docs.map((doc, i) => ({ wsid, job: doc.job.name, words: doc.job.properties.displayName || doc.job.name, colour: `var(--series-${(i % 8) + 1})` }));
    const keys = [...new Set(docs.flatMap((doc) => (doc.metrics ?? []).map((metric) => metric.key)))];
    return (
        <>
            <PageHead title={`Compare ${number(names.length)} ${names.length === 1 ? "job" : "jobs"}`} crumb={<Link to="/jobs">Jobs</Link>}>
                <button type="button" className="chip" aria-pressed={!all} onClick={() => set({ all: all ? undefined : "1" })}>Only differences</button>
                <Button icon="plus" isDisabled={names.length >= MOST} onPress={() => setAdding(true)}>Add a job</Button>
            </PageHead>
            {problem && <ErrorBox error={problem.error} retry={() => problem.refetch()} />}
            {names.length === 0 ? <Card pad={false}><Empty title="No job is chosen"><span>Choose some in the list of jobs, or add them here.</span><Button kind="primary" onPress={() => setAdding(true)}>Add a job</Button></Empty></Card> : docs.length < names.length && !problem ? <Skeleton /> : (
                <>
                    <Card pad={false}><div className="table-box"><table className="table compare"><thead><tr><th />{lines.map((line) => (
                        <th key={line.job}><span className="row" style={{ flexWrap: "nowrap" }}><i style={{ width: 10, height: 10, borderRadius: 3, background: line.colour, flex: "none" }} /><Link to="/jobs/$wsid/$job" params={{ wsid, job: line.job }} className="cut">{line.words}</Link>
                            <Button kind="quiet small icon" aria-label={`Take ${line.job} away`} onPress={() => set({ jobs: names.filter((name) => name !== line.job).join(",") })}><Icon name="close" size={12} /></Button></span></th>
                    ))}</tr></thead><tbody>
                        <tr><th>Status</th>{docs.map((doc) => <td key={doc.job.name}><StatusBadge status={doc.job.properties.status} /></td>)}</tr>
                        {sections(docs).map(([title, entries]) => {
                            const shown = entries.filter(([, values]) => all || new Set(values).size > 1);
                            if (!shown.length) return null;
                            return [<tr key={title}><th colSpan={docs.length + 1} style={{ color: "var(--ink)", fontWeight: 650 }}>{title}</th></tr>, ...shown.map(([key, values]) => (
                                <tr key={title + key}><th><span className="cut" title={key}>{key}</span></th>{values.map((value, i) => <td key={i} className="tall"><span className={title === "Metrics" ? "" : "mono"} style={{ overflowWrap: "anywhere" }}>{value || <span className="soft">–</span>}</span></td>)}</tr>
                            ))];
                        })}
                    </tbody></table></div></Card>
                    {keys.length > 0 && <>
                        <div className="row"><h2 className="grow">Metrics</h2><HowBar how={how} onChange={setHow} /></div>
                        <div className="charts">{keys.slice(0, 24).map((key) => <Chart key={key} metric={key} lines={lines} session how={how} live={docs.some((doc) => doc.job.properties.status === "Running")} height={220} />)}</div>
                        {keys.length > 24 && <p className="soft small">24 of {number(keys.length)} metrics are drawn.</p>}
                    </>}
                </>
            )}
            {adding && <Add names={names} onClose={() => setAdding(false)} onAdd={(name) => set({ jobs: [...names, name].join(",") })} />}
        </>
    );
}

function sections(docs: Document[]): [string, [string, string[]][]][] {
    const rows = (of: (doc: Document) => Record<string, unknown>): [string, string[]][] => {
        const all = docs.map(of), keys = [...new Set(all.flatMap((one) => Object.keys(one)))].sort();
        return keys.map((key) => [key, all.map((one) => (one[key] === undefined || one[key] === null ? "" : typeof one[key] === "object" ? JSON.stringify(one[key]) : String(one[key])))]);
    };
    return [
        ["Metrics", rows((doc) => Object.fromEntries((doc.metrics ?? []).map((metric) => [metric.key, metric.words])))],
        ["Parameters", rows((doc) => ({ ...doc.params, ...Object.fromEntries(Object.entries<any>(doc.job.properties.inputs ?? {}).map(([key, input]) => [key, input?.value ?? input?.uri])) }))],
        ["Tags", rows((doc) => doc.job.properties.tags ?? {})],
        ["Definition", rows((doc) => ({ command: doc.job.properties.command ?? doc.job.properties.trial?.command, compute: computeOf(doc.job), code: shortId(doc.job.properties.codeId ?? doc.job.properties.trial?.codeId), environment: shortId(doc.job.properties.environmentId ?? doc.job.properties.trial?.environmentId), experiment: doc.job.properties.experimentName, resources: doc.job.properties.resources }))],
        ["How it went", rows((doc) => ({ cause: doc.explain.cause, attempts: doc.explain.attempts?.length, "user code (s)": ((doc.explain.micros?.user_code ?? 0) / 1e6).toFixed(3) }))],
    ];
}

function Add({ names, onClose, onAdd }: { names: string[]; onClose: () => void; onAdd: (name: string) => void }) {
    const [q, setQ] = useState("");
    const found = useQuery({ queryKey: ["rows", "add", q], queryFn: () => rows({ q, limit: 20 }), placeholderData: (before) => before });
    return (
        <Dialog open onClose={onClose} title="Add a job">
            <SearchBox label="Part of a name" value={q} onChange={setQ} />
            <div>{(found.data?.value ?? []).filter((job) => !names.includes(job.name)).map((job) => (
                <button type="button" key={job.name} className="menuitem" style={{ width: "100%", background: "none", border: 0 }} onClick={() => { onAdd(job.name); onClose(); }}><span className="grow cut">{job.displayName ?? job.name} <span className="soft">{job.experiment}</span></span><StatusBadge status={job.status} /></button>
            ))}</div>
        </Dialog>
    );
}
