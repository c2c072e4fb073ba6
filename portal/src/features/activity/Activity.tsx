// What happened (events), and who did what (the audit).
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ask } from "../../api/client";
import { Card, Empty, Loaded, PageHead, Tabs, Time, useQuery, useTitle } from "../../ui/kit";
import { Events } from "./Events";

export function Activity() {
    useTitle("Activity");
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const tab = search.tab ?? "events";
    return (
        <>
            <PageHead title="Activity" note="Events say what happened to jobs, nodes and computes; the audit says who did what, and cannot be changed unnoticed." />
            <Tabs label="Activity" tabs={[["events", "Events"], ["audit", "Audit"]]} value={tab} onChange={(next) => navigate({ to: "/activity", search: { tab: next } as any, replace: true })} />
            <Card pad={false}>{tab === "events" ? <Events /> : <Audit />}</Card>
        </>
    );
}

function Audit() {
    const found = useQuery({ queryKey: ["audit"], queryFn: () => ask("/turnout/audit?limit=200"), retry: false });
    return (
        <Loaded of={found}>{(page) => page.value.length === 0 ? <Empty title="Nothing is on record" /> : (
            <div className="table-box"><table className="table cards"><thead><tr><th>When</th><th>Who</th><th>What</th><th>Where</th><th className="num">Answer</th><th>From</th></tr></thead><tbody>
                {[...page.value].sort((a: any, b: any) => b.n - a.n).map((act: any) => (
                    <tr key={act.n}><td><Time at={act.at} /></td><td>{act.user}{act.via && <span className="soft small"> by {act.via}</span>}</td>
                        <td className="main">{act.about ?? act.action.split("/").slice(-3).join(" ")}</td><td><span className="mono cut" title={act.path}>{act.method} {act.path.split("/workspaces/").pop()}</span></td><td className="num">{act.status}</td><td>{act.from}</td></tr>
                ))}
            </tbody></table></div>
        )}</Loaded>
    );
}
