import { Link } from "@tanstack/react-router";
import { arm } from "../../api/client";
import { useSession, wsidOf } from "../../ui/Frame";
import { Empty, Loaded, Time, useQuery } from "../../ui/kit";

/** What happened to jobs, nodes and computes, the newest first. */
export function Events({ job, compute, kind, limit = 200 }: { job?: string; compute?: string; kind?: string; limit?: number }) {
    const wsid = wsidOf(useSession().workspace);
    const found = useQuery({ queryKey: ["events", job, compute, kind, limit], queryFn: () => arm("events", { job, compute, kind, limit }) });
    return (
        <Loaded of={found} lines={8}>{(page) => page.value.length === 0 ? <Empty title="Nothing has happened" /> : (
            <div className="table-box"><table className="table cards"><thead><tr><th>When</th><th>What</th><th>Of</th><th>Status</th><th>Node</th><th>More</th></tr></thead><tbody>
                {[...page.value].reverse().map((event: any) => (
                    <tr key={event.id}>
                        <td><Time at={event.at} /></td>
                        <td className="main">{event.kind} {String(event.what ?? "").replace(/_/g, " ")}</td>
                        <td>{event.kind === "job" ? <Link className="cut" to="/jobs/$wsid/$job" params={{ wsid, job: event.name }}>{event.name}</Link> : event.kind === "compute" ? <Link to="/compute/$name" params={{ name: event.name }}>{event.name}</Link> : event.name}</td>
                        <td>{event.status ?? event.state}</td><td>{event.node}</td>
                        <td className="tall"><span className="soft">{[event.cause, event.message ?? event.reason, event.exit_code !== undefined && `exit code ${event.exit_code}`].filter(Boolean).join(" · ")}</span></td>
                    </tr>
                ))}
            </tbody></table></div>
        )}</Loaded>
    );
}
