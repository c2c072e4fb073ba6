// The list of jobs. What is filtered stands in the address; rows come fifty at a time.
import { useInfiniteQuery, type InfiniteData } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";
import { all, arm } from "../../api/client";
import { cancel, rows, type Row, type Rows } from "../../api/jobs";
import { number } from "../../lib/bytes";
import { useSession, wsidOf } from "../../ui/Frame";
import { Icon } from "../../ui/icons";
import { act, Button, Card, Confirm, Empty, ErrorBox, isOver, PageHead, SearchBox, Skeleton, StatusBadge, Time, Took, useQuery, useTitle } from "../../ui/kit";

const GROUPS: [string, string, string][] = [
    ["Queued", "Queued,NotStarted,Paused", "queued"],
    ["Preparing", "Preparing,Provisioning,Starting", "preparing"],
    ["Running", "Running,Finalizing,CancelRequested,NotResponding", "running"],
    ["Completed", "Completed", "completed"],
    ["Failed", "Failed", "failed"],
    ["Canceled", "Canceled", "canceled"],
];

export function Jobs() {
    useTitle("Jobs");
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const wsid = wsidOf(useSession().workspace);
    const set = (change: Record<string, string | undefined>) => {
        const next = { ...search, ...change };
        for (const name of Object.keys(next)) if (!next[name]) delete next[name];
        navigate({ to: "/jobs", search: next as any, replace: true });
    };
    const filter = { status: search.status, compute: search.compute, experiment: search.experiment, type: search.type, by: search.by, q: search.q, archived: search.archived };
    const found = useInfiniteQuery<Rows, Error, InfiniteData<Rows>, unknown[], string>({
        queryKey: ["rows", "list", filter], initialPageParam: "", placeholderData: (before) => before,
        queryFn: ({ pageParam }) => rows({ ...filter, limit: 50, after: pageParam }),
        getNextPageParam: (page) => page.next,
    });
    const list = useMemo(() => found.data?.pages.flatMap((page) => page.value) ?? [], [found.data]);
    const scanned = found.data?.pages.reduce((sum, page) => sum + page.scanned, 0) ?? 0;
    const computes = useQuery({ queryKey: ["computes"], queryFn: () => all("computes") });
    const counts = useQuery({ queryKey: ["rows", "counts"], queryFn: () => arm("jobCounts") });
    const [chosen, setChosen] = useState<Set<string>>(new Set());
    const [asking, setAsking] = useState(false);
    const [current, setCurrent] = useState(-1);
    const body = useRef<HTMLTableSectionElement>(null);
    const choose = (name: string) => setChosen((before) => { const next = new Set(before); if (!next.delete(name)) next.add(name); return next; });
    const statuses = new Set((search.status ?? "").split(",").filter(Boolean));

    // j k x Enter c
    useEffect(() => {
        const press = (event: KeyboardEvent) => {
            if (/^(INPUT|TEXTAREA|SELECT)$/.test((event.target as HTMLElement).tagName) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('[role="dialog"]')) return;
            const step = event.key === "j" ? 1 : event.key === "k" ? -1 : 0;
            if (step) {
                const next = Math.max(0, Math.min(list.length - 1, current + step));
                setCurrent(next);
                body.current?.rows[next]?.scrollIntoView({ block: "nearest" });
            }
            const row = list[current];
            if (row && event.key === "x") choose(row.name);
            if (row && event.key === "Enter" && document.activeElement === document.body) navigate({ to: "/jobs/$wsid/$job", params: { wsid, job: row.name } });
            if (event.key === "c" && chosen.size > 1) navigate({ to: "/compare", search: { jobs: [...chosen].join(",") } as any });
        };
        addEventListener("keydown", press);
        return () => removeEventListener("keydown", press);
    });

    const live = list.filter((job) => chosen.has(job.name) && !isOver(job.status));
    const filtered = Object.values(filter).some(Boolean);
    const placed = counts.data?.placed ?? {};
    const countOf = (group: string) => {
        if (!counts.data) return undefined;
        if (group === "Queued") return counts.data.waiting as number;
        if (group === "Preparing") return (placed.Preparing ?? 0) + (placed.Provisioning ?? 0) + (placed.Starting ?? 0);
        if (group === "Running") return (placed.Running ?? 0) + (placed.Finalizing ?? 0);
        return undefined;
    };
    return (
        <>
            <PageHead title="Jobs">
                {chosen.size > 1 && <Button onPress={() => navigate({ to: "/compare", search: { jobs: [...chosen].join(",") } as any })}>Compare {chosen.size}</Button>}
                {live.length > 0 && <Button kind="danger" onPress={() => setAsking(true)}>Cancel {live.length}</Button>}
                <Link to="/jobs/new" className="btn primary"><Icon name="plus" />New job</Link>
            </PageHead>
            <div className="row">
                <SearchBox label="Part of a name" value={search.q ?? ""} onChange={(q) => set({ q })} />
                <div className="chips" role="group" aria-label="Status">
                    {GROUPS.map(([words, names, sign]) => {
                        const on = names.split(",").some((name) => statuses.has(name));
                        return (
                            <button key={words} type="button" className="chip" aria-pressed={on} onClick={() => {
                                const next = new Set(statuses);
                                for (const name of names.split(",")) if (on) next.delete(name); else next.add(name);
                                set({ status: [...next].join(",") });
                            }}><span className={`status ${words}`}><Icon name={`s_${sign}`} size={13} /></span>{words}{!!countOf(words) && <b>{number(countOf(words)!)}</b>}</button>
                        );
                    })}
                </div>
                <select className="input" aria-label="Compute" value={search.compute ?? ""} onChange={(event) => set({ compute: event.target.value })}>
                    <option value="">Any compute</option>
                    {(computes.data ?? []).map((one) => <option key={one.name}>{one.name}</option>)}
                    <option>serverless</option>
                    {search.compute && search.compute !== "serverless" && !computes.data?.some((one) => one.name === search.compute) && <option>{search.compute}</option>}
                </select>
                <select className="input" aria-label="Type" value={search.type ?? ""} onChange={(event) => set({ type: event.target.value })}>
                    <option value="">Any type</option><option>Command</option><option>Sweep</option><option>Pipeline</option>
                </select>
                <button type="button" className="chip" aria-pressed={search.by === "@me"} onClick={() => set({ by: search.by ? undefined : "@me" })}>Mine</button>
                <button type="button" className="chip" aria-pressed={!!search.archived} onClick={() => set({ archived: search.archived ? undefined : "true" })}>Archived, too</button>
                {search.experiment && <button type="button" className="chip" aria-pressed onClick={() => set({ experiment: undefined })}>experiment: {search.experiment}<Icon name="close" size={12} /></button>}
                {filtered && <Button kind="quiet small" onPress={() => navigate({ to: "/jobs", search: {} as any, replace: true })}>Show all</Button>}
            </div>
            {found.error && !found.data ? <ErrorBox error={found.error} retry={() => found.refetch()} /> : (
                <Card pad={false}>
                    {!found.data ? <Skeleton lines={12} /> : list.length === 0 && !found.hasNextPage ? (
                        filtered ? <Empty title="No job is like that"><Button onPress={() => navigate({ to: "/jobs", search: {} as any })}>Show all jobs</Button></Empty>
                            : <Empty title="No job was submitted yet" command="turnout job create -f job.yml --stream"><Link className="btn primary" to="/jobs/new">New job</Link></Empty>
                    ) : (
                        <div className="table-box">
                            <table className="table cards" aria-label="Jobs">
                                <thead><tr><th className="check"><span className="visually-hidden">Select</span></th><th>Name</th><th>Status</th><th className="num">Took</th><th>Compute</th><th>Experiment</th><th>By</th><th className="num">Submitted</th></tr></thead>
                                <tbody ref={body}>
                                    {list.map((job, i) => <JobRow key={job.name} job={job} wsid={wsid} chosen={chosen.has(job.name)} choose={choose} current={i === current} onExperiment={(experiment) => set({ experiment })} />)}
                                </tbody>
                            </table>
                        </div>
                    )}
                </Card>
            )}
            {found.data && (
                <div className="row soft small">
                    <span>{number(list.length)} shown{filtered && `, of the newest ${number(scanned)} that were looked at`}</span>
                    {found.hasNextPage ? <Button kind="small" isDisabled={found.isFetchingNextPage} onPress={() => found.fetchNextPage()}>{found.isFetchingNextPage ? "Looking…" : "Older jobs"}</Button> : <span>no older ones</span>}
                </div>
            )}
            {asking && (
                <Confirm title={`Cancel ${live.length} ${live.length === 1 ? "job" : "jobs"}?`} verb={`Cancel ${live.length}`} onClose={() => setAsking(false)} onYes={async () => {
                    const done = await Promise.allSettled(live.map((job) => cancel(job.name)));
                    const bad = done.filter((one) => one.status === "rejected").length;
                    await act(`${done.length - bad} asked to stop${bad ? `, ${bad} could not be` : ""}`, async () => {});
                    setChosen(new Set());
                    found.refetch();
                }}><p>They stop, and what they wrote so far is kept.</p><ul>{live.slice(0, 10).map((job) => <li key={job.name}>{job.displayName ?? job.name}</li>)}</ul></Confirm>
            )}
        </>
    );
}

function JobRow({ job, wsid, chosen, choose, current, onExperiment }: { job: Row; wsid: string; chosen: boolean; choose: (name: string) => void; current: boolean; onExperiment: (name: string) => void }) {
    const ended = job.children ? job.children.completed + job.children.failed + job.children.canceled : 0;
    return (
        <tr className={current ? "current" : ""}>
            <td className="check"><input type="checkbox" aria-label={`Select ${job.name}`} checked={chosen} onChange={() => choose(job.name)} /></td>
            <td className="main" title={job.why}>
                <Link to="/jobs/$wsid/$job" params={{ wsid, job: job.name }} className="name cut">{job.displayName ?? job.name}
                    {job.type !== "Command" && <span className="tag" style={{ marginLeft: 6 }}>{job.type}{job.children && !isOver(job.status) ? ` ${number(ended)} of ${number(job.children.created)}` : ""}</span>}
                    {job.archived && <span className="tag" style={{ marginLeft: 6 }}>archived</span>}
                </Link>
            </td>
            <td><StatusBadge status={job.status} />{job.cause && job.cause !== "canceled" && <span className="soft small"> {job.cause}</span>}</td>
            <td className="num"><Took from={job.started ?? (isOver(job.status) ? job.created : undefined)} to={job.ended} /></td>
            <td>{job.compute === "serverless" ? <span className="soft">serverless</span> : <Link className="cut" to="/compute/$name" params={{ name: job.compute }}>{job.compute}</Link>}</td>
            <td><button type="button" className="linkish cut" title="Only this experiment" onClick={() => onExperiment(job.experiment)}>{job.experiment}</button></td>
            <td>{job.by}</td>
            <td className="num"><Time at={job.created} /></td>
        </tr>
    );
}
