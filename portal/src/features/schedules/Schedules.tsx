// Schedules: when each submits its job, and what became of the last times.
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { all, arm } from "../../api/client";
import { useSession, wsidOf } from "../../ui/Frame";
import { act, Button, Card, Command, Confirm, Copy, Empty, Facts, Loaded, PageHead, StateBadge, StatusBadge, Time, useQuery, useTitle } from "../../ui/kit";

const own = (schedule: any, name: string): string | undefined => schedule.properties.properties?.[`turnout.${name}`];
const State = ({ schedule }: { schedule: any }) => <StateBadge state={own(schedule, "state") ?? (schedule.properties.isEnabled ? "enabled" : "disabled")} like={schedule.properties.isEnabled ? "Running" : "Canceled"} />;

export function Schedules() {
    useTitle("Schedules");
    const found = useQuery({ queryKey: ["computes", "schedules"], queryFn: () => all("schedules", { listViewType: "All" }) });
    return (
        <>
            <PageHead title="Schedules" note="Jobs that are submitted because it is time." />
            <Card pad={false}><Loaded of={found}>{(list) => list.length === 0 ? <Empty title="There is no schedule yet" command="turnout schedule create -f schedule.yml" /> : (
                <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>State</th><th>When</th><th>Next</th><th>Last</th><th>Of</th></tr></thead><tbody>
                    {list.map((one) => <tr key={one.name}><td className="main"><Link className="name" to="/schedules/$name" params={{ name: one.name }}>{one.properties.displayName || one.name}</Link></td><td><State schedule={one} /></td><td>{own(one, "trigger")}</td><td data-label="next">{own(one, "next_run") && <Time at={own(one, "next_run")} />}</td><td><span className="cut">{own(one, "last_run") ?? own(one, "last")}</span></td><td>{own(one, "owner")}</td></tr>)}
                </tbody></table></div>
            )}</Loaded></Card>
        </>
    );
}

export function Schedule() {
    const { name } = useParams({ strict: false }) as { name: string };
    useTitle(name);
    const client = useQueryClient(), navigate = useNavigate(), wsid = wsidOf(useSession().workspace);
    const [asking, setAsking] = useState(false);
    const found = useQuery({ queryKey: ["computes", "schedules", name], queryFn: () => arm(`schedules/${name}`) });
    const again = () => client.invalidateQueries({ queryKey: ["computes", "schedules"] });
    const jobs = useQuery({ queryKey: ["rows", "schedule", name], queryFn: () => arm("jobs", { scheduleId: name, $top: 50 }) });
    return (
        <Loaded of={found}>{(schedule) => {
            const { properties } = schedule, on: boolean = properties.isEnabled;
            const put = (isEnabled: boolean) => arm(`schedules/${name}`, {}, { method: "PUT", body: { properties: { ...properties, properties: Object.fromEntries(Object.entries(properties.properties ?? {}).filter(([key]) => !key.startsWith("turnout."))), isEnabled, runs: undefined, provisioningState: undefined } } });
            return (
                <>
                    <PageHead crumb={<Link to="/schedules">Schedules</Link>} title={<>{properties.displayName || name} <State schedule={schedule} /></>} note={[own(schedule, "trigger"), properties.description].filter(Boolean).join(" · ")}>
                        <Button onPress={() => act("Its job is submitted", () => arm(`schedules/${name}/trigger`, {}, { method: "POST" })).then(() => { again(); client.invalidateQueries({ queryKey: ["rows"] }); })}>Run now</Button>
                        <Button onPress={() => act(on ? "It is disabled: its jobs go on" : "It is enabled, from now on", () => put(!on)).then(again)}>{on ? "Disable" : "Enable"}</Button>
                        <Button kind="danger" icon="trash" isDisabled={on} onPress={() => setAsking(true)}>Delete</Button>
                    </PageHead>
                    <div className="cols">
                        <Card title="Jobs that it submitted" pad={false}><Loaded of={jobs}>{(page) => page.value.length === 0 ? <Empty title="None yet" /> : (
                            <table className="table cards"><tbody>{page.value.map((job: any) => <tr key={job.name}><td className="main"><Link className="name" to="/jobs/$wsid/$job" params={{ wsid, job: job.name }}>{job.name}</Link></td><td><StatusBadge status={job.properties.status} /></td><td className="num"><Time at={job.systemData?.createdAt} /></td></tr>)}</tbody></table>
                        )}</Loaded></Card>
                        <div className="stack">
                            <Card title="About"><Facts rows={[["Name", name], ["When", own(schedule, "trigger")], ["Next", own(schedule, "next_run") && <Time at={own(schedule, "next_run")} />], ["Of", own(schedule, "owner")], ...Object.entries(properties.properties ?? {}).filter(([key]) => key.startsWith("turnout.") && !["turnout.owner", "turnout.trigger", "turnout.state", "turnout.next_run"].includes(key)).map(([key, value]): [string, any] => [key.slice(8).replace(/_/g, " "), String(value)])]} /></Card>
                            <Card title="Its trigger"><pre>{JSON.stringify(properties.trigger, null, 2)}</pre></Card>
                            <Card title="Its job" extra={<Copy text={JSON.stringify(properties.action, null, 2)} />}><pre style={{ maxHeight: 360, overflow: "auto" }}>{JSON.stringify(properties.action?.jobDefinition ?? properties.action, null, 2)}</pre></Card>
                            <Command text={`turnout schedule show -n ${name}`} />
                        </div>
                    </div>
                    {asking && <Confirm title={`Delete ${name}?`} verb="Delete" name={name} onClose={() => setAsking(false)} onYes={async () => { if (await act("It is deleted; its jobs stay", () => arm(`schedules/${name}`, {}, { method: "DELETE" }))) navigate({ to: "/schedules" }); }}><p>Its jobs stay.</p></Confirm>}
                </>
            );
        }}</Loaded>
    );
}
