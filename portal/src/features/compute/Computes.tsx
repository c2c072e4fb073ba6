import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { all, ask } from "../../api/client";
import { number } from "../../lib/bytes";
import { useSession, wsidOf } from "../../ui/Frame";
import { Icon } from "../../ui/icons";
import { act, Button, Card, Empty, Loaded, PageHead, SearchBox, StateBadge, Tabs, Time, useQuery, useTitle } from "../../ui/kit";
import { FAMILIES, familyOf, instanceDo, nodesOf, problemOf, sizeOf, stateOf, tierOf } from "./computes";
import { NewCompute } from "./NewCompute";

export function Computes() {
    useTitle("Compute");
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const { workspace, me } = useSession();
    const found = useQuery({ queryKey: ["computes"], queryFn: () => all("computes") });
    const slots = useQuery({ queryKey: ["computes", "slots"], queryFn: () => ask("/turnout/slots"), retry: false });
    const set = (change: Record<string, string | undefined>) => navigate({ to: "/compute", search: Object.fromEntries(Object.entries({ ...search, ...change }).filter(([, value]) => value)) as any, replace: true });
    const tab = search.tab ?? "all";
    const list = (found.data ?? []).filter((one) => (tab === "all" || familyOf(one) === tab) && one.name.toLowerCase().includes((search.q ?? "").toLowerCase()));
    const counts = (family: string) => (found.data ?? []).filter((one) => family === "all" || familyOf(one) === family).length;
    return (
        <>
            <PageHead title="Compute" note={slots.data && `${number(slots.data.nodes)} of ${number(slots.data.slots)} slots of the default pool have a node${slots.data.waiting ? `, ${number(slots.data.waiting)} jobs wait` : ""}`}>
                <Link className="btn" to="/targets">What each type can do</Link>
                <Button kind="primary" icon="plus" onPress={() => set({ new: "1" })}>New</Button>
            </PageHead>
            <div className="row"><div className="grow"><Tabs label="Kinds of compute" tabs={[["all", <>All<span className="count">{counts("all")}</span></>], ...FAMILIES.filter(([id]) => id !== "other" || counts(id)).map(([id, words]): [string, any] => [id, <>{words}<span className="count">{counts(id)}</span></>])]} value={tab} onChange={(next) => set({ tab: next === "all" ? undefined : next })} /></div>
                <SearchBox label="Part of a name" value={search.q ?? ""} onChange={(q) => set({ q })} /></div>
            <Card pad={false}>
                <Loaded of={found} lines={6}>{() => list.length === 0 ? (
                    <Empty title={found.data!.length ? "No compute is like that" : "There is no compute yet"} command="turnout compute create -n cpu-cluster --type AmlCompute --size STANDARD_DS3_v2 --max-instances 2"><span>Jobs run without one, too: <b>serverless</b>, on the server's default pool.</span><Button kind="primary" icon="plus" onPress={() => set({ new: "1" })}>New compute</Button></Empty>
                ) : (
                    <div className="table-box"><table className="table cards" aria-label="Computes"><thead><tr><th>Name</th><th>Type</th><th>State</th><th className="num">Nodes</th><th>Size</th><th>Tier</th><th>Region</th><th>Created</th><th /></tr></thead><tbody>
                        {list.map((compute) => {
                            const [state, like] = stateOf(compute), instance = familyOf(compute) === "instances", problem = problemOf(compute);
                            return (
                                <tr key={compute.name}>
                                    <td className="main"><Link to="/compute/$name" params={{ name: compute.name }} className="name cut">{compute.name}</Link></td>
                                    <td>{compute.properties.computeType}</td>
                                    <td title={problem}><StateBadge state={state} like={like} />{problem && <span className="soft small"> why?</span>}</td>
                                    <td className="num" data-label="nodes">{nodesOf(compute)}</td><td><span className="cut">{sizeOf(compute)}</span></td><td>{tierOf(compute)}</td><td>{compute.location ?? compute.properties.computeLocation}</td><td><Time at={compute.systemData?.createdAt} /></td>
                                    <td className="right nowrap">{instance && <InstanceButtons compute={compute} wsid={wsidOf(workspace)} mine={compute.properties.properties.personalComputeInstanceSettings?.assignedUser?.userName === me?.name} />}</td>
                                </tr>
                            );
                        })}
                    </tbody></table></div>
                )}</Loaded>
            </Card>
            {search.new && <NewCompute onClose={() => set({ new: undefined })} />}
        </>
    );
}

export function InstanceButtons({ compute, wsid, mine, small = true }: { compute: any; wsid: string; mine: boolean; small?: boolean }) {
    const state: string = compute.properties.properties.state, name = compute.name, kind = small ? "small" : "";
    const running = /Running/.test(state), stopped = state === "Stopped";
    return (
        <span className="row" style={{ flexWrap: "nowrap", justifyContent: "flex-end" }}>
            {running && mine && <a className={`btn ${kind}`} href={`/studio/instances/${wsid}/${name}`} target="_blank" rel="noreferrer"><Icon name="open" size={14} />Open</a>}
            {stopped && <Button kind={kind} icon="play" onPress={() => act(`${name} starts`, () => instanceDo(name, "start"))}>Start</Button>}
            {running && <Button kind={kind} icon="stop" onPress={() => act(`${name} stops`, () => instanceDo(name, "stop"))}>Stop</Button>}
            {running && !small && <Button icon="restart" onPress={() => act(`${name} restarts`, () => instanceDo(name, "restart"))}>Restart</Button>}
        </span>
    );
}
