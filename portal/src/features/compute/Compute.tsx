// One compute: its nodes, what runs and waits on it, where its time went, and what can be changed.
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { arm } from "../../api/client";
import { rows } from "../../api/jobs";
import { bytes, number } from "../../lib/bytes";
import { isoSeconds, span } from "../../lib/time";
import { useSession, wsidOf } from "../../ui/Frame";
import { act, Button, Card, Confirm, Dialog, Empty, Facts, Field, Loaded, PageHead, StateBadge, StatusBadge, Tabs, Tags, Time, Took, useQuery, useTitle } from "../../ui/kit";
import { Events } from "../activity/Events";
import { InstanceButtons } from "./Computes";
import { familyOf, problemOf, remove, sizeOf, stateOf, tierOf } from "./computes";

const LIVE = "Queued,NotStarted,Paused,Preparing,Provisioning,Starting,Running,Finalizing,CancelRequested,NotResponding";

export function Compute() {
    const { name } = useParams({ strict: false }) as { name: string };
    useTitle(name);
    const found = useQuery({ queryKey: ["computes", name], queryFn: () => arm(`computes/${name}`) });
    return <Loaded of={found}>{(compute) => <Page compute={compute} again={found.refetch} />}</Loaded>;
}

function Page({ compute, again }: { compute: any; again: () => void }) {
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const { workspace, me } = useSession();
    const [asking, setAsking] = useState("");
    const name = compute.name, inner = compute.properties.properties ?? {}, family = familyOf(compute);
    const [state, like] = stateOf(compute), problem = problemOf(compute), tab = search.tab ?? "overview";
    const attached = !!compute.properties.isAttachedCompute;
    const mine = inner.personalComputeInstanceSettings?.assignedUser?.userName === me?.name;
    const nodes = useQuery({ queryKey: ["computes", name, "nodes"], queryFn: () => arm(`computes/${name}/listNodes`, {}, { method: "POST" }) });
    return (
        <>
            <PageHead crumb={<Link to="/compute">Compute</Link>} title={<>{name} <StateBadge state={state} like={like} /></>} note={[compute.properties.computeType, sizeOf(compute), tierOf(compute), compute.location].filter(Boolean).join(" · ")}>
                {family === "instances" && <InstanceButtons compute={compute} wsid={wsidOf(workspace)} mine={mine} small={false} />}
                {family === "clusters" && <Button onPress={() => setAsking("edit")}>Edit</Button>}
                <Link className="btn" to="/jobs/new" search={{ compute: name } as any}>New job here</Link>
                <Button kind="danger" icon="trash" onPress={() => setAsking("delete")}>{attached ? "Detach" : "Delete"}</Button>
            </PageHead>
            {problem && <div className="error" role="alert">{problem}</div>}
            <Tabs label="Parts of the compute" tabs={[["overview", "Overview"], ["jobs", "Jobs"], ["events", "Events"]]} value={tab} onChange={(next) => navigate({ to: "/compute/$name", params: { name }, search: (next === "overview" ? {} : { tab: next }) as any, replace: true })} />
            {tab === "overview" && (
                <div className="cols">
                    <div className="stack">
                        <Card title="Nodes" pad={false}>
                            <Loaded of={nodes}>{(page) => !page?.nodes?.length ? <Empty title="No node is held just now"><span>{family === "clusters" ? "One comes when a job asks for it, and leaves after it was idle for a while." : ""}</span></Empty> : (
                                <div className="table-box"><table className="table cards"><thead><tr><th>Node</th><th>State</th><th>Job</th><th>Machine</th><th className="num">Cores</th><th className="num">Memory</th><th className="num">GPUs</th></tr></thead><tbody>
                                    {page.nodes.map((node: any) => (
                                        <tr key={node.nodeId}><td className="main">{node.nodeId}</td><td><StateBadge state={node.nodeState} like={node.nodeState === "running" ? "Running" : node.nodeState === "idle" ? "Completed" : node.nodeState === "unusable" ? "Failed" : "Preparing"} /></td>
                                            <td>{node.runId && <Link className="cut" to="/jobs/$wsid/$job" params={{ wsid: wsidOf(workspace), job: node.runId }}>{node.runId}</Link>}</td><td>{node.properties?.host}</td><td className="num" data-label="cores">{node.properties?.cores}</td><td className="num">{node.properties?.memoryBytes && bytes(node.properties.memoryBytes)}</td><td className="num" data-label="GPUs">{node.properties?.gpus?.length ?? node.properties?.gpus ?? ""}</td></tr>
                                    ))}
                                </tbody></table></div>
                            )}</Loaded>
                        </Card>
                        <Jobs name={name} status={LIVE} title="On it now, and waiting for it" none="Nothing runs, and nothing waits" />
                    </div>
                    <div className="stack">
                        <Ledger name={name} />
                        <Card title="Properties"><Facts rows={[
                            ["Type", compute.properties.computeType], ["Size", inner.vmSize], ["Tier", tierOf(compute)],
                            ["Nodes", inner.scaleSettings && `${inner.scaleSettings.minNodeCount} to ${inner.scaleSettings.maxNodeCount}`],
                            ["Idle until it leaves", inner.scaleSettings && span((isoSeconds(inner.scaleSettings.nodeIdleTimeBeforeScaleDown) ?? 0) * 1e6)],
                            ["Stops when idle for", inner.idleTimeBeforeShutdown && span((isoSeconds(inner.idleTimeBeforeShutdown) ?? 0) * 1e6)],
                            ["Of", inner.personalComputeInstanceSettings?.assignedUser?.userName],
                            ["Next", inner.nextScheduledAction && <>{inner.nextScheduledAction.action} <Time at={inner.nextScheduledAction.dateTime ?? inner.nextScheduledAction.time} /></>],
                            ["Last", inner.lastOperation && `${inner.lastOperation.operationName} ${inner.lastOperation.operationStatus}`],
                            ["Address", inner.address && `${inner.address}:${inner.sshPort ?? 22}`],
                            ["Found there", inner.propertyBag?.system && <Facts rows={Object.entries(inner.propertyBag.system).filter(([, value]) => typeof value !== "object").map(([key, value]) => [key, String(value)])} />],
                            ["Region", compute.location], ["Created", <><Time at={compute.systemData?.createdAt} /> by {compute.systemData?.createdBy}</>],
                            ["Description", compute.properties.description], ["Tags", Object.keys(compute.tags ?? {}).length > 0 && <Tags tags={compute.tags} />],
                        ]} /></Card>
                    </div>
                </div>
            )}
            {tab === "jobs" && <Jobs name={name} title="Its newest jobs" none="No job has run on it" />}
            {tab === "events" && <Card pad={false}><Events compute={name} /></Card>}
            {asking === "edit" && <Edit compute={compute} onClose={() => { setAsking(""); again(); }} />}
            {asking === "delete" && <Confirm title={attached ? `Detach ${name}?` : `Delete ${name}?`} verb={attached ? "Detach" : "Delete"} name={name} onClose={() => setAsking("")} onYes={async () => { if (await act(`${name} goes`, () => remove(name, attached))) navigate({ to: "/compute" }); }}><p>Jobs that run or wait there are canceled. What ended jobs wrote is kept.</p></Confirm>}
        </>
    );
}

function Jobs({ name, status, title, none }: { name: string; status?: string; title: string; none: string }) {
    const wsid = wsidOf(useSession().workspace);
    const found = useQuery({ queryKey: ["rows", "of", name, status], queryFn: () => rows({ compute: name, status, limit: 50 }) });
    return (
        <Card title={title} extra={<Link to="/jobs" search={{ compute: name } as any}>All its jobs</Link>} pad={false}>
            <Loaded of={found}>{(page) => page.value.length === 0 ? <Empty title={none} /> : (
                <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>Status</th><th className="num">Took</th><th>By</th><th>Why</th><th className="num">Submitted</th></tr></thead><tbody>
                    {page.value.map((job) => <tr key={job.name}><td className="main"><Link className="name cut" to="/jobs/$wsid/$job" params={{ wsid, job: job.name }}>{job.displayName ?? job.name}</Link></td><td><StatusBadge status={job.status} /></td><td className="num"><Took from={job.started} to={job.ended} /></td><td>{job.by}</td><td className="soft small"><span className="cut">{job.why}</span></td><td className="num"><Time at={job.created} /></td></tr>)}
                </tbody></table></div>
            )}</Loaded>
        </Card>
    );
}

function Ledger({ name }: { name: string }) {
    const found = useQuery({ queryKey: ["computes", name, "ledger"], queryFn: () => arm(`computes/${name}/ledger`) });
    return (
        <Card title="Ledger"><Loaded of={found} lines={3}>{(ledger) => {
            const life = (ledger.nodes.lifeMicros.dedicated ?? 0) + (ledger.nodes.lifeMicros.low_priority ?? 0), used = ledger.nodes.usedMicros;
            return (
                <Facts rows={[
                    ["Ended jobs", `${number(ledger.jobs.ended)}: ${number(ledger.jobs.completed)} completed, ${number(ledger.jobs.failed)} failed, ${number(ledger.jobs.canceled)} canceled`],
                    ["Causes", Object.keys(ledger.causes).length > 0 && <Tags tags={ledger.causes} />],
                    ["Nodes", `${number(ledger.nodes.live)} now, ${number(ledger.nodes.gone)} have left`],
                    ["Node time", life > 0 && <>{span(life)} <span className="progress" title={`${Math.round((used / life) * 100)} % used`}><i style={{ width: `${Math.min(100, (used / life) * 100)}%` }} /></span></>],
                    ["Used", life > 0 && `${span(used)} (${Math.round((used / life) * 100)} %)`], ["Idle", life > 0 && span(ledger.nodes.idleMicros)], ["Starting", life > 0 && span(ledger.nodes.startingMicros)],
                    ["Preemptions", ledger.preemptions > 0 && number(ledger.preemptions)], ["Cost", ledger.cost !== undefined && `${ledger.cost.toFixed(4)}${ledger.pricePerHour ? ` at ${ledger.pricePerHour} an hour` : ""}`],
                ]} />
            );
        }}</Loaded></Card>
    );
}

function Edit({ compute, onClose }: { compute: any; onClose: () => void }) {
    const scale = compute.properties.properties.scaleSettings;
    const [min, setMin] = useState(String(scale.minNodeCount)), [max, setMax] = useState(String(scale.maxNodeCount)), [idle, setIdle] = useState(String(isoSeconds(scale.nodeIdleTimeBeforeScaleDown) ?? 120));
    const [problem, setProblem] = useState<any>();
    const save = async () => {
        try {
            await arm(`computes/${compute.name}`, {}, { method: "PATCH", body: { properties: { properties: { scaleSettings: { minNodeCount: Number(min), maxNodeCount: Number(max), nodeIdleTimeBeforeScaleDown: `PT${Number(idle)}S` } } } } });
            onClose();
        } catch (error) { setProblem(error); }
    };
    return (
        <Dialog open onClose={onClose} title={`Edit ${compute.name}`} footer={<><Button onPress={onClose}>Leave it</Button><Button kind="primary" onPress={save}>Save</Button></>}>
            <div className="two"><Field label="Fewest nodes" type="number" value={min} onChange={setMin} /><Field label="Most nodes" type="number" value={max} onChange={setMax} /></div>
            <Field label="Seconds idle until a node leaves" type="number" value={idle} onChange={setIdle} />
            {problem && <p className="problem" role="alert">{problem.message}</p>}
        </Dialog>
    );
}
