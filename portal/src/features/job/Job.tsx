// The page of one job, for whoever is logged in, and for whoever has its link.
import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { arm, shortId } from "../../api/client";
import { beneath, cancel, computeOf, document_, pathOf, remove, type Document, type File } from "../../api/jobs";
import { bytes, number } from "../../lib/bytes";
import { span } from "../../lib/time";
import { useSession } from "../../ui/Frame";
import { act, Button, Card, Confirm, Copy, Empty, Facts, isOver, Loaded, Menu, PageHead, StatusBadge, Tabs, Tags, Time, toast, Took, useQuery, useTitle } from "../../ui/kit";
import { Events } from "../activity/Events";
import { Log } from "../log/Log";
import { Chart } from "../metrics/Chart";
import { Metrics } from "../metrics/Metrics";
import { Steps } from "../pipeline/Steps";
import { Sweep } from "../sweep/Sweep";
import { Files } from "./Files";
import { CAUSES, PHASES } from "./words";
import "./job.css";

export function Job() {
    const { wsid, job } = useParams({ strict: false }) as { wsid: string; job: string };
    const search = useSearch({ strict: false }) as Record<string, any>;
    const session = !!useSession().me;
    const page = search.page ? Number(search.page) : undefined;
    const found = useQuery({
        queryKey: ["job", job, page, session], queryFn: () => document_(wsid, job, session, page), placeholderData: (before) => before,
        // Events bring what changes; metrics and files come without one.
        refetchInterval: (query) => (isOver(query.state.data?.job.properties.status) ? false : 2000),
    });
    return <Loaded of={found} lines={10}>{(data) => <Page key={job} data={data} wsid={wsid} session={session} search={search} />}</Loaded>;
}

function Page({ data, wsid, session, search }: { data: Document; wsid: string; session: boolean; search: Record<string, any> }) {
    const job = data.job.properties, name: string = data.job.name, own = job.properties ?? {};
    const title = job.displayName || name, live = !isOver(job.status);
    useTitle(`${job.status} · ${title}`);
    const navigate = useNavigate();
    const client = useQueryClient();
    const [asking, setAsking] = useState("");
    const set = (change: Record<string, unknown>) => navigate({ to: "/jobs/$wsid/$job", params: { wsid, job: name }, search: ((before: any) => {
        const next = { ...before, ...change };
        for (const key of Object.keys(next)) if (next[key] === undefined) delete next[key];
        return next;
    }) as any, replace: true });
    const tab: string = search.tab ?? (data.sweep ? "trials" : data.steps ? "steps" : "overview");
    const log = search.log ?? data.log;
    const metrics = data.metrics ?? [];
    // Its logs have a tab of their own.
    const artifacts = data.artifacts.filter((file) => !data.logs.some((log) => log.path === file.path));
    const files = artifacts.length + data.outputs.reduce((sum, output) => sum + output.files.length, 0);
    const again = () => client.invalidateQueries({ queryKey: ["job", name] });
    const compute = computeOf(data.job);
    const attempts = data.explain.attempts ?? [];
    const tabs: [string, any][] = [
        ...(data.sweep ? [["trials", <>Trials<span className="count">{number(data.sweep.total)}</span></>] as [string, any]] : []),
        ...(data.steps ? [["steps", <>Steps<span className="count">{number(data.steps.total)}</span></>] as [string, any]] : []),
        ["overview", "Overview"],
        ["log", "Log"],
        ["metrics", <>Metrics<Count of={metrics.length} /></>],
        ["outputs", <>Outputs<Count of={files} more={data.moreArtifacts} /></>],
        ["definition", "Definition"],
        ...(session ? [["events", "Events"] as [string, any]] : []),
    ];
    const crumb = data.parent ? (
        <>{session && <><Link to="/jobs">Jobs</Link> / </>}{session ? <Link to="/jobs/$wsid/$job" params={{ wsid, job: data.parent.name }}>{data.parent.name}</Link> : data.parent.name} / {data.parent.trial ? "a trial" : `step ${data.parent.role}`}</>
    ) : session ? <Link to="/jobs">Jobs</Link> : undefined;
    return (
        <>
            <PageHead crumb={crumb} title={<>{title} <StatusBadge status={job.status} /></>} note={
                <span className="row" style={{ gap: "2px 10px" }}>
                    {title !== name && <span className="mono">{name}</span>}<Copy text={name} label="Copy the job's name" />
                    <span>{job.experimentName}</span><span>on {compute}{attempts.at(-1)?.nodes?.length ? ` / ${attempts.at(-1).nodes.slice(0, 4).join(", ")}` : ""}</span>
                    {attempts.length > 1 && <span>attempt {attempts.at(-1).attempt}</span>}
                    <span>by {data.job.systemData?.createdBy}</span>
                    <span>{live ? "so far" : "took"} <Took from={data.explain.created} to={data.explain.ended} /></span>
                </span>
            }>
                {session && <>
                    {live && <Button kind="danger" isDisabled={job.status === "CancelRequested"} onPress={() => setAsking("cancel")}>Cancel</Button>}
                    {!data.parent && <Link className="btn" to="/jobs/new" search={{ from: name } as any}>Run again on…</Link>}
                    {files > 0 && job.status === "Completed" && <Link className="btn" to="/assets/$kind" params={{ kind: "models" }} search={{ job: name } as any}>Register model</Link>}
                    <Menu label="More" kind="icon" icon="more" entries={[
                        { id: "compare", words: "Compare with…", act: () => navigate({ to: "/compare", search: { jobs: name } as any }) },
                        { id: "link", words: "Copy a link that needs no login", act: () => navigator.clipboard.writeText(job.services?.Studio?.endpoint ?? location.href).then(() => toast("copied: whoever has it may read this job, for 30 days")) },
                        { id: "archive", words: job.isArchived ? "Show in lists again" : "Archive", act: () => act(job.isArchived ? "It is in lists again" : "It is archived", () => arm(`jobs/${name}`, {}, { method: "PATCH", body: { properties: { isArchived: !job.isArchived } } })).then(again) },
                        { id: "delete", words: "Delete…", danger: true, disabled: live, act: () => setAsking("delete") },
                    ]} />
                </>}
            </PageHead>
            {job.description && <p>{job.description}</p>}
            <Tabs label="Parts of the job" tabs={tabs} value={tab} onChange={(next) => set({ tab: next, line: undefined })} />
            {tab === "overview" && <Overview data={data} wsid={wsid} session={session} log={log} live={live} onTab={(next) => set({ tab: next })} onLog={(path) => set({ log: path })} />}
            {tab === "log" && <Log key={log} wsid={wsid} job={name} session={session} path={log} logs={data.logs} onPath={(path) => set({ log: path, line: undefined })} live={live} line={search.line ? Number(search.line) : undefined} onLine={(line) => set({ line })} />}
            {tab === "metrics" && <Metrics wsid={wsid} job={name} metrics={metrics} session={session} live={live} />}
            {tab === "outputs" && <Outputs data={{ ...data, artifacts }} wsid={wsid} name={name} session={session} />}
            {tab === "definition" && <Definition data={data} own={own} />}
            {tab === "events" && session && <Card pad={false}><Events job={name} /></Card>}
            {tab === "trials" && data.sweep && <Sweep sweep={data.sweep} wsid={wsid} session={session} live={live} onPage={(page) => set({ page })} />}
            {tab === "steps" && data.steps && <Steps steps={data.steps} wsid={wsid} session={session} onPage={(page) => set({ page })} />}
            {asking === "cancel" && <Confirm title="Cancel this job?" verb="Cancel the job" onClose={() => setAsking("")} onYes={() => act("It was asked to stop", () => cancel(name)).then(again)}><p>{title} stops; what it wrote so far is kept.</p></Confirm>}
            {asking === "delete" && <Confirm title="Delete this job?" verb="Delete" name={name} onClose={() => setAsking("")} onYes={async () => { if (await act("It is deleted", () => remove(name))) navigate({ to: "/jobs" }); }}><p>Its log, metrics and files go with it, for good.</p></Confirm>}
        </>
    );
}

const Count = ({ of, more }: { of: number; more?: boolean }) => (of > 0 ? <span className="count">{number(of)}{more && "+"}</span> : null);

function Overview({ data, wsid, session, log, live, onTab, onLog }: { data: Document; wsid: string; session: boolean; log: string; live: boolean; onTab: (tab: string) => void; onLog: (path: string) => void }) {
    const job = data.job.properties, name = data.job.name;
    const metrics = data.metrics ?? [];
    return (
        <>
            <Why data={data} />
            <Phases micros={data.explain.micros} />
            <div className="cols">
                <div className="stack">
                    <Log wsid={wsid} job={name} session={session} path={log} logs={data.logs} onPath={onLog} live={live} small />
                    <Attempts data={data} />
                </div>
                <div className="stack">
                    {metrics.length > 0 && (
                        <Card title="Metrics" extra={<Button kind="quiet small" onPress={() => onTab("metrics")}>All {number(metrics.length)}</Button>} pad={false}>
                            <div className="stack" style={{ gap: 0 }}>{metrics.slice(0, 2).map((metric) => <Chart key={metric.key} metric={metric.key} value={metric.words} height={130} lines={[{ wsid, job: name, words: name }]} session={session} how={{ x: "step", weight: 0, log: false }} live={live} />)}</div>
                            {metrics.length > 2 && <div className="body minis" style={{ padding: "0 16px 8px" }}>{metrics.slice(2, 10).map((metric) => <div className="row" key={metric.key}><span className="grow cut">{metric.key}</span><b>{metric.words}</b></div>)}</div>}
                        </Card>
                    )}
                    <Card title="Properties">
                        <Facts rows={[
                            ["Type", job.jobType], ["Submitted", <Time at={data.explain.created} />], ["Began", job.properties?.["turnout.started"] && <Time at={job.properties["turnout.started"]} />], ["Ended", data.explain.ended && <Time at={data.explain.ended} />],
                            ["Compute", session && computeOf(data.job) !== "serverless" ? <Link to="/compute/$name" params={{ name: computeOf(data.job) }}>{computeOf(data.job)}</Link> : computeOf(data.job)],
                            ["Experiment", session ? <Link to="/jobs" search={{ experiment: job.experimentName } as any}>{job.experimentName}</Link> : job.experimentName],
                            ["Environment", job.properties?.["turnout.environment"]],
                            ["Exit code", job.properties?.["turnout.exit_code"]],
                            ["Peak memory", job.properties?.["turnout.peak_memory_bytes"] && bytes(Number(job.properties["turnout.peak_memory_bytes"]))],
                            ["Instances", job.resources?.instanceCount > 1 && number(job.resources.instanceCount)],
                            ["Tags", Object.keys(job.tags ?? {}).length > 0 && <Tags tags={job.tags} />],
                        ]} />
                    </Card>
                    {Object.keys(job.inputs ?? {}).length > 0 && <Card title="Inputs"><Facts rows={Object.entries<any>(job.inputs).map(([key, input]) => [key, <span className="mono">{input?.value ?? input?.uri}</span>])} /></Card>}
                    {job.properties?.["turnout.notices"] && <Card title="Notices"><p className="small">{job.properties["turnout.notices"]}</p></Card>}
                </div>
            </div>
        </>
    );
}

/** Why it waits, or why it did not go well: before all else. */
function Why({ data }: { data: Document }) {
    const { explain } = data, job = data.job.properties;
    if (explain.now?.text || explain.now?.waitsFor) {
        const now = explain.now;
        return (
            <Card title={`Now: ${now.text || "it runs"}`} extra={now.placeInQueue && <span className="soft">place {number(now.placeInQueue)} in the queue{now.expectedInSeconds !== undefined && `, to start in about ${span(now.expectedInSeconds * 1e6)}`}</span>}>
                {now.wouldStartNow?.length > 0 && <><p className="soft">What would start it now:</p><ul>{now.wouldStartNow.map((way: string) => <li key={way}>· {way}</li>)}</ul></>}
                {now.nodes?.length > 0 && (
                    <div className="table-box" style={{ marginTop: 8 }}><table className="table cards"><thead><tr><th>Node</th><th>State</th><th>What it does</th></tr></thead><tbody>
                        {now.nodes.slice(0, 20).map((node: any) => <tr key={node.node}><td className="main">{node.node}</td><td>{node.state}</td><td>{node.doing}</td></tr>)}
                    </tbody></table></div>
                )}
                <p className="small soft">{number(now.freeSlots ?? 0)} of {number(now.slots ?? 0)} slots of {now.pool ? `pool ${now.pool}` : "its pool"} free · {number(now.waitingJobs ?? 0)} waiting for the same compute</p>
            </Card>
        );
    }
    if (job.status === "Failed" || (job.status === "Canceled" && (job.error || explain.message))) {
        const lines = job.error?.details?.find((one: any) => one.code === "LastLines")?.message;
        return (
            <Card kind={job.status === "Failed" ? "bad" : ""} title={<>{explain.cause ?? job.status}: {job.error?.message ?? explain.message}</>}>
                {CAUSES[explain.cause] && <p className="soft">{CAUSES[explain.cause]}</p>}
                {lines && <pre>{lines}</pre>}
            </Card>
        );
    }
    if (job.properties?.["turnout.reason"]) return <div className="note">{job.properties["turnout.reason"]}</div>;
    return null;
}

function Phases({ micros }: { micros?: Record<string, number> }) {
    if (!micros) return null;
    const parts = PHASES.filter(([id]) => micros[id] > 0), total = parts.reduce((sum, [id]) => sum + micros[id], 0);
    if (!total) return null;
    return (
        <Card title="Where the time went" extra={<span className="soft">{span(total)}</span>}>
            <div className="phases" role="img" aria-label={parts.map(([id, words]) => `${words} ${span(micros[id])}`).join(", ")}>
                {parts.map(([id, words, why]) => <i key={id} className={`p-${id}`} style={{ flexGrow: micros[id] / total, flexBasis: 0 }} title={`${words}: ${span(micros[id])}\n${why}`} />)}
            </div>
            <ul className="phase-list">{parts.map(([id, words, why]) => <li key={id} title={why}><i className={`p-${id}`} />{words} <b>{span(micros[id])}</b></li>)}</ul>
        </Card>
    );
}

function Attempts({ data }: { data: Document }) {
    const attempts = data.explain.attempts ?? [];
    if (attempts.length < 2) return null;
    return (
        <Card title="Attempts" pad={false}>
            <div className="table-box"><table className="table cards"><thead><tr><th>Attempt</th><th>Nodes</th><th>Began</th><th className="num">Took</th><th>How it ended</th></tr></thead><tbody>
                {attempts.map((one: any) => <tr key={one.attempt}><td className="main">{one.attempt}</td><td>{(one.nodes ?? []).join(", ")}</td><td><Time at={one.leased} /></td><td className="num">{span(one.micros)}</td><td>{one.ended ? (one.cause ? `${one.cause}${one.message ? ": " + one.message : ""}` : "well") : "it goes on"}</td></tr>)}
            </tbody></table></div>
            {data.explain.foldedAttempts > 0 && <p className="soft small" style={{ padding: 12 }}>and {number(data.explain.foldedAttempts)} between them that had to give way, too</p>}
        </Card>
    );
}

function Outputs({ data, wsid, name, session }: { data: Document; wsid: string; name: string; session: boolean }) {
    if (!data.artifacts.length && !data.outputs.length) return <Card pad={false}><Empty title="It wrote no files"><span>What a script writes into <code>outputs/</code>, or to an output of its definition, is kept and shown here.</span></Empty></Card>;
    const link = (place: string) => (file: File) => beneath(wsid, name, `${place}/${pathOf(file.path)}`, {}, session);
    return (
        <div className="stack">
            {data.outputs.map((output) => (
                <Card key={output.name} title={<>{output.name} <span className="soft small">{output.type}</span></>} extra={<span className="row small mono" style={{ maxWidth: "100%" }}><span className="cut" style={{ maxWidth: 420 }}>{output.uri}</span><Copy text={output.uri} label="Copy its address" /></span>}>
                    {output.listed ? output.files.length ? <Files files={output.files} more={output.more} link={link(`output/${pathOf(output.name)}`)} /> : <p className="soft">It is empty.</p> : <p className="soft">It is a place that others may write to: its files are listed where it is.</p>}
                </Card>
            ))}
            {data.artifacts.length > 0 && <Card title="Artifacts" extra={<span className="soft small">all of them: <code>turnout job download {name} --all</code></span>}><Files files={data.artifacts} more={data.moreArtifacts} link={link("artifact")} /></Card>}
        </div>
    );
}

function Definition({ data, own }: { data: Document; own: Record<string, string> }) {
    const job = data.job.properties;
    const command: string = job.command ?? job.trial?.command;
    const rest = { ...job };
    for (const name of ["command", "services", "properties", "error", "status", "isArchived", "displayName", "description", "experimentName"]) delete rest[name];
    return (
        <div className="stack">
            {command && <Card title="Command" extra={<Copy text={command} />}><pre>{command}</pre></Card>}
            <Card title="What it runs with"><Facts rows={[
                ["Code", job.codeId && <span className="mono">{shortId(job.codeId ?? job.trial?.codeId)}</span>],
                ["Environment", <span className="mono">{shortId(job.environmentId ?? job.trial?.environmentId)}</span>],
                ["Parameters", Object.keys(data.params ?? {}).length > 0 && <Tags tags={data.params} />],
                ["Variables", Object.keys(job.environmentVariables ?? {}).length > 0 && <Tags tags={job.environmentVariables} />],
            ]} /></Card>
            <Card title="Definition" extra={<Copy text={JSON.stringify(job, null, 2)} label="Copy as JSON" />}><pre>{JSON.stringify(rest, null, 2)}</pre></Card>
            <Card title="Properties"><Facts rows={Object.entries(own).map(([key, value]) => [key, <span className="mono">{value}</span>])} /></Card>
        </div>
    );
}
