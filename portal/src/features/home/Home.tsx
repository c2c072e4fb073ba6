import { Link } from "@tanstack/react-router";
import { all, arm, ask } from "../../api/client";
import { rows } from "../../api/jobs";
import { number } from "../../lib/bytes";
import { useSession, wsidOf } from "../../ui/Frame";
import { Icon } from "../../ui/icons";
import { Card, Command, Loaded, PageHead, StatusBadge, Time, useQuery, useTitle } from "../../ui/kit";

export function Home() {
    useTitle("Home");
    const { workspace, me } = useSession();
    const wsid = wsidOf(workspace);
    const newest = useQuery({ queryKey: ["rows", "home"], queryFn: () => rows({ limit: 12 }) });
    const failed = useQuery({ queryKey: ["rows", "home", "failed"], queryFn: () => rows({ limit: 5, status: "Failed" }) });
    const counts = useQuery({ queryKey: ["rows", "counts"], queryFn: () => arm("jobCounts") });
    const slots = useQuery({ queryKey: ["computes", "slots"], queryFn: () => ask("/turnout/slots"), retry: false });
    const computes = useQuery({ queryKey: ["computes"], queryFn: () => all("computes") });
    const placed = counts.data?.placed ?? {};
    const running = (placed.Running ?? 0) + (placed.Finalizing ?? 0);
    const preparing = (placed.Preparing ?? 0) + (placed.Provisioning ?? 0) + (placed.Starting ?? 0);
    const none = newest.data?.value.length === 0;
    return (
        <>
            <PageHead title={`Workspace ${workspace?.name}`} note={`Logged in as ${me?.displayName || me?.name}`}>
                <Link to="/jobs/new" className="btn primary"><Icon name="plus" />New job</Link>
                <Link to="/compute" search={{ new: "1" } as any} className="btn"><Icon name="plus" />New compute</Link>
            </PageHead>
            <div className="tiles">
                <Tile to="/jobs" search={{ status: "Queued" }} icon="s_queued" like="Queued" count={counts.data?.waiting} words="waiting" />
                <Tile to="/jobs" search={{ status: "Preparing,Provisioning,Starting" }} icon="s_preparing" like="Preparing" count={counts.data && preparing} words="preparing" />
                <Tile to="/jobs" search={{ status: "Running,Finalizing" }} icon="s_running" like="Running" count={counts.data && running} words="running" />
                {slots.data && <Tile to="/compute" icon="compute" count={slots.data.nodes} of={slots.data.slots} words="slots have a node" />}
                <Tile to="/compute" icon="compute" count={computes.data?.length} words={computes.data?.length === 1 ? "compute" : "computes"} />
            </div>
            {none ? <FirstSteps /> : (
                <div className="cols">
                    <Card title="Newest jobs" extra={<Link to="/jobs">All jobs</Link>} pad={false}>
                        <Loaded of={newest} lines={8}>{(page) => (
                            <table className="table cards"><thead><tr><th>Name</th><th>Status</th><th>Compute</th><th>Submitted</th></tr></thead><tbody>
                                {page.value.map((job) => (
                                    <tr key={job.name}>
                                        <td className="main"><Link to="/jobs/$wsid/$job" params={{ wsid, job: job.name }} className="name cut">{job.displayName ?? job.name}</Link></td>
                                        <td><StatusBadge status={job.status} /></td><td>{job.compute}</td><td><Time at={job.created} /></td>
                                    </tr>
                                ))}
                            </tbody></table>
                        )}</Loaded>
                    </Card>
                    <Card title="Failed last">
                        <Loaded of={failed}>{(page) => page.value.length === 0 ? <p className="soft">None of the newest jobs has failed.</p> : (
                            <ul className="stack">{page.value.map((job) => (
                                <li key={job.name}>
                                    <div className="row"><Link className="name grow cut" to="/jobs/$wsid/$job" params={{ wsid, job: job.name }}>{job.displayName ?? job.name}</Link><span className="soft small"><Time at={job.ended} /></span></div>
                                    <div className="small"><span className="status Failed"><Icon name="s_failed" size={12} />{job.cause}</span> <span className="soft">{job.why}</span></div>
                                </li>
                            ))}</ul>
                        )}</Loaded>
                    </Card>
                </div>
            )}
        </>
    );
}

function Tile({ to, search, icon, like = "", count, of, words }: { to: string; search?: any; icon: string; like?: string; count?: number; of?: number; words: string }) {
    return (
        <Link to={to as any} search={search} className="tile">
            <b>{count === undefined ? "–" : number(count)}{of !== undefined && <span style={{ fontSize: 16, marginLeft: 6 }}>of {number(of)}</span>}</b>
            <span><i className={`status ${like}`}><Icon name={icon} size={13} /></i>{words}</span>
        </Link>
    );
}

function FirstSteps() {
    return (
        <Card title="First steps">
            <ol className="stack">
                <li><b>1. A cluster.</b> <Link to="/compute" search={{ new: "1" } as any}>Make one here</Link>, or by the command line:<div><Command text="turnout compute create -n cpu-cluster --type AmlCompute --size STANDARD_DS3_v2 --max-instances 2" /></div></li>
                <li><b>2. A job.</b> <Link to="/jobs/new">Write one here</Link>, or submit a file:<div><Command text="turnout job create -f job.yml --stream" /></div></li>
                <li><b>3. Your own scripts.</b> The SDK and MLflow find this server by these variables:<div><Command text={'eval "$(turnout env)"'} /></div></li>
            </ol>
        </Card>
    );
}
