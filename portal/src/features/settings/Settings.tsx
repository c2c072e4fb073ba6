import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ask } from "../../api/client";
import { bytes, number } from "../../lib/bytes";
import { setUtc, usesUtc } from "../../lib/time";
import { useSession } from "../../ui/Frame";
import { act, Button, Card, Choices, Command, Empty, Facts, Loaded, PageHead, Tags, Time, useQuery, useTitle } from "../../ui/kit";
import { setTheme, theme, type Theme } from "../../ui/theme";

export function Settings() {
    useTitle("Settings");
    const { me, workspace } = useSession();
    const client = useQueryClient();
    const [colours, setColours] = useState<string>(theme()), [zone, setZone] = useState(usesUtc() ? "utc" : "local");
    const sessions = useQuery({ queryKey: ["sessions"], queryFn: () => ask("/turnout/sessions") });
    const space = useQuery({ queryKey: ["space"], queryFn: () => ask("/turnout/space"), retry: false });
    const pools = useQuery({ queryKey: ["pools"], queryFn: () => ask("/turnout/pools"), retry: false });
    return (
        <>
            <PageHead title="Settings" />
            <div className="cols">
                <div className="stack">
                    <Card title="Sessions of yours" pad={false}><Loaded of={sessions}>{(page) => page.value.length === 0 ? <Empty title="No browser is logged in" /> : (
                        <div className="table-box"><table className="table cards"><thead><tr><th>Began</th><th>Ends</th><th>From</th><th /></tr></thead><tbody>{page.value.map((one: any) => (
                            <tr key={one.id}><td className="main"><Time at={one.created} />{(one.current || one.inUse) && <span className="tag" style={{ marginLeft: 6 }}>this one</span>}</td><td data-label="ends"><Time at={one.expires} /></td><td>{one.origin ?? one.from}</td><td className="right"><Button kind="small danger" onPress={() => act("It is ended", () => ask(`/turnout/sessions/${encodeURIComponent(one.id)}`, { method: "DELETE" })).then(() => client.invalidateQueries())}>End</Button></td></tr>
                        ))}</tbody></table></div>
                    )}</Loaded></Card>
                    <Card title="Pools of machines" pad={false}><Loaded of={pools}>{(page) => <div className="table-box"><table className="table cards"><thead><tr><th>Pool</th><th>Provider</th><th>State</th><th className="num">Slots</th><th className="num">Nodes</th><th className="num">Waiting</th></tr></thead><tbody>{page.value.map((pool: any) => <tr key={pool.name}><td className="main"><b>{pool.name}</b></td><td>{pool.provider}</td><td>{pool.state}</td><td className="num" data-label="slots">{number(pool.slots)}</td><td className="num" data-label="nodes">{number(pool.nodes)}</td><td className="num" data-label="waiting">{number(pool.waiting)}</td></tr>)}</tbody></table></div>}</Loaded></Card>
                    <Card title="What takes space on the server"><Loaded of={space}>{(page) => <Facts rows={[["In all", <b>{bytes(page.bytes)}</b>], ["Free on the disk", page.disk && bytes(page.disk.free)], ...page.rows.filter((row: any) => row.bytes > 0).map((row: any): [string, any] => [row.what, <>{bytes(row.bytes)}{row.count > 0 && <span className="soft"> in {number(row.count)}</span>}</>])]} />}</Loaded></Card>
                </div>
                <div className="stack">
                    <Card title="Colours"><Choices label="Colours" value={colours} onChange={(next) => { setTheme(next as Theme); setColours(next); }} options={[{ id: "system", title: "As the system has them" }, { id: "light", title: "Light" }, { id: "dark", title: "Dark" }]} /></Card>
                    <Card title="Times"><Choices label="Times" value={zone} onChange={(next) => { setUtc(next === "utc"); setZone(next); client.invalidateQueries(); }} options={[{ id: "local", title: `Here: ${Intl.DateTimeFormat().resolvedOptions().timeZone}` }, { id: "utc", title: "UTC" }]} /></Card>
                    <Card title="You"><Facts rows={[["Name", me?.displayName ?? me?.name], ["Roles", me && <Tags tags={Object.fromEntries(me.roles.map((one) => [one.role, one.scope === "/" ? "everywhere" : one.scope.split("/").slice(-2).join(" ")]))} />], ["Workspace", workspace?.name]]} /></Card>
                    <Card title="From a shell or a script"><div className="stack"><Command text={'eval "$(turnout env)"'} /><Command text="turnout config > config.json" /></div></Card>
                </div>
            </div>
        </>
    );
}
