// Users, their roles, and the tokens with which they are known.
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { ask } from "../../api/client";
import { act, Button, Card, Confirm, Copy, Dialog, Empty, ErrorBox, Field, Loaded, Menu, PageHead, StateBadge, Tabs, Time, useQuery, useTitle } from "../../ui/kit";
import { useSession } from "../../ui/Frame";

export function People() {
    useTitle("People");
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const tab = search.tab ?? "users";
    return (
        <>
            <PageHead title="People" note="Who may do what on this server." />
            <Tabs label="People" tabs={[["users", "Users"], ["roles", "Roles"], ["tokens", "Tokens"], ["quotas", "Quotas"]]} value={tab} onChange={(next) => navigate({ to: "/people", search: { tab: next } as any, replace: true })} />
            {tab === "users" && <Users />}{tab === "roles" && <Roles />}{tab === "tokens" && <Tokens />}{tab === "quotas" && <Quotas />}
        </>
    );
}

function Users() {
    const client = useQueryClient();
    const users = useQuery({ queryKey: ["users"], queryFn: () => ask("/turnout/users"), retry: false });
    const given = useQuery({ queryKey: ["assignments"], queryFn: () => ask("/turnout/assignments"), retry: false });
    const roles = useQuery({ queryKey: ["roles"], queryFn: () => ask("/turnout/roles"), retry: false });
    const { workspace } = useSession();
    const [adding, setAdding] = useState(false), [role, setRole] = useState<string>();
    const [name, setName] = useState(""), [chosen, setChosen] = useState("Contributor"), [where, setWhere] = useState("/");
    const again = () => { client.invalidateQueries({ queryKey: ["users"] }); client.invalidateQueries({ queryKey: ["assignments"] }); };
    const add = async () => { if (await act(`${name} is a user`, () => ask("/turnout/users", { method: "POST", body: { name } }))) { setAdding(false); setRole(name); setName(""); again(); } };
    const give = async () => { if (await act(`${role} is ${chosen} now`, () => ask("/turnout/assignments", { method: "POST", body: { user: role, role: chosen, scope: where } }))) { setRole(undefined); again(); } };
    return (
        <>
            <Card title="Users" extra={<Button kind="small" icon="plus" onPress={() => setAdding(true)}>Add</Button>} pad={false}><Loaded of={users}>{(page) => (
                <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>State</th><th>Roles</th><th /></tr></thead><tbody>{page.value.map((user: any) => (
                    <tr key={user.name}><td className="main"><b>{user.name}</b> <span className="soft">{user.displayName}</span></td><td><StateBadge state={user.state} like={user.state === "enabled" ? "Completed" : "Canceled"} /></td>
                        <td>{(given.data?.value ?? []).filter((one: any) => one.user === user.name).map((one: any) => (
                            <span className="tag" key={one.id}>{one.role} {scopeWords(one.scope)} <button type="button" className="linkish" aria-label={`Take ${one.role} from ${user.name}`} onClick={() => act(`${user.name} is ${one.role} no more`, () => ask(`/turnout/assignments/${encodeURIComponent(one.id)}`, { method: "DELETE" })).then(again)}>×</button></span>
                        ))}</td>
                        <td className="right"><Menu label={`More of ${user.name}`} kind="quiet small icon" icon="more" entries={[
                            { id: "role", words: "Give a role…", act: () => setRole(user.name) },
                            { id: "state", words: user.state === "enabled" ? "Disable" : "Enable", danger: user.state === "enabled", act: () => act(`${user.name} is ${user.state === "enabled" ? "disabled" : "enabled"}`, () => ask(`/turnout/users/${encodeURIComponent(user.name)}`, { method: "PATCH", body: { state: user.state === "enabled" ? "disabled" : "enabled" } })).then(again) },
                        ]} /></td></tr>
                ))}</tbody></table></div>
            )}</Loaded></Card>
            <Dialog open={adding} onClose={() => setAdding(false)} title="Add a user" footer={<><Button onPress={() => setAdding(false)}>Leave it</Button><Button kind="primary" isDisabled={!name} onPress={add}>Add</Button></>}><Field label="Name" value={name} onChange={setName} autoFocus /></Dialog>
            <Dialog open={!!role} onClose={() => setRole(undefined)} title={`Give ${role} a role`} footer={<><Button onPress={() => setRole(undefined)}>Leave it</Button><Button kind="primary" onPress={give}>Give</Button></>}>
                <Field label="Role" value={chosen} onChange={setChosen} options={(roles.data?.value ?? []).map((one: any) => one.name)} hint={roles.data?.value.find((one: any) => one.name === chosen)?.description} />
                <Field label="Where" value={where} onChange={setWhere} options={[["/", "the whole server"], ...(workspace ? [[workspace.id, `workspace ${workspace.name}`] as [string, string]] : [])]} />
            </Dialog>
        </>
    );
}
const scopeWords = (scope: string) => (scope === "/" ? "everywhere" : `on ${scope.split("/").slice(-2).join(" ")}`);

function Roles() {
    const found = useQuery({ queryKey: ["roles"], queryFn: () => ask("/turnout/roles") });
    return <Card pad={false}><Loaded of={found}>{(page) => <div className="table-box" tabIndex={0} role="region" aria-label="Roles"><table className="table cards"><thead><tr><th>Role</th><th>Type</th><th>May</th><th>Actions</th></tr></thead><tbody>{page.value.map((role: any) => (
        <tr key={role.name}><td className="main nowrap"><b>{role.name}</b></td><td className="soft">{role.type}</td><td className="tall">{role.description}</td><td className="tall small mono" style={{ overflowWrap: "anywhere" }}>{role.actions.slice(0, 3).join(", ")}{role.actions.length > 3 && ` and ${role.actions.length - 3} more`}</td></tr>
    ))}</tbody></table></div>}</Loaded></Card>;
}

function Tokens() {
    const client = useQueryClient();
    const found = useQuery({ queryKey: ["tokens"], queryFn: () => ask("/turnout/tokens") });
    const [making, setMaking] = useState(false), [name, setName] = useState(""), [access, setAccess] = useState("write"), [days, setDays] = useState("90"), [made, setMade] = useState<any>(), [revoking, setRevoking] = useState<any>(), [problem, setProblem] = useState<unknown>();
    const again = () => client.invalidateQueries({ queryKey: ["tokens"] });
    const make = async () => {
        try { setMade(await ask("/turnout/tokens", { method: "POST", body: { name, access, expires: days ? new Date(Date.now() + Number(days) * 864e5).toISOString().replace(/\.\d+Z/, "Z") : undefined } })); setMaking(false); again(); } catch (error) { setProblem(error); }
    };
    return (
        <>
            <Card title="Tokens of yours, and those you may see" extra={<Button kind="small" icon="plus" onPress={() => setMaking(true)}>New token</Button>} pad={false}><Loaded of={found}>{(page) => page.value.length === 0 ? <Empty title="There is no token" /> : (
                <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>Of</th><th>State</th><th>May</th><th>Where</th><th>Made</th><th>Ends</th><th /></tr></thead><tbody>{page.value.map((token: any) => (
                    <tr key={token.id}><td className="main"><b>{token.name}</b>{token.inUse && <span className="tag" style={{ marginLeft: 6 }}>in use now</span>}</td><td>{token.user}</td><td><StateBadge state={token.state} like={token.state === "valid" ? "Completed" : "Canceled"} /></td><td>{token.access === "read" ? "read" : "read and write"}</td><td>{scopeWords(token.scope ?? "/")}</td><td><Time at={token.created} /></td><td><Time at={token.expires} /></td><td className="right">{token.state === "valid" && <Button kind="danger small" onPress={() => setRevoking(token)}>Revoke</Button>}</td></tr>
                ))}</tbody></table></div>
            )}</Loaded></Card>
            <Dialog open={making} onClose={() => setMaking(false)} title="New token" footer={<><Button onPress={() => setMaking(false)}>Leave it</Button><Button kind="primary" isDisabled={!name} onPress={make}>Make</Button></>}>
                <Field label="Name" value={name} onChange={setName} autoFocus hint="what it is for" /><div className="two"><Field label="May" value={access} onChange={setAccess} options={[["write", "read and write"], ["read", "only read"]]} /><Field label="Days until it ends" type="number" value={days} onChange={setDays} /></div>{problem ? <ErrorBox error={problem} /> : null}
            </Dialog>
            <Dialog open={!!made} onClose={() => setMade(undefined)} title="The token, shown this once" footer={<Button kind="primary" onPress={() => setMade(undefined)}>I have kept it</Button>}><div className="command"><pre>{made?.token}</pre><Copy text={made?.token ?? ""} label="Copy the token" /></div><p className="soft">The server keeps only its hash.</p></Dialog>
            {revoking && <Confirm title={`Revoke ${revoking.name}?`} verb="Revoke" onClose={() => setRevoking(undefined)} onYes={() => act("It holds no more", () => ask(`/turnout/tokens/${encodeURIComponent(revoking.id)}`, { method: "DELETE" })).then(again)}><p>Whoever uses it is let in no more, at once{revoking.inUse ? "; it is in use now" : ""}.</p></Confirm>}
        </>
    );
}

function Quotas() {
    const found = useQuery({ queryKey: ["quotas"], queryFn: () => ask("/turnout/quotas") });
    return <Card pad={false}><Loaded of={found}>{(page) => page.value.length === 0 ? <Empty title="There is no quota" /> : <div className="table-box"><table className="table cards"><thead><tr><th>Of</th><th>Limits</th><th>Used now</th></tr></thead><tbody>{page.value.map((one: any, i: number) => (
        <tr key={i}><td className="main"><b>{one.user ?? one.workspace ?? "everybody"}</b></td><td>{Object.keys(one.limits ?? {}).length ? Object.entries(one.limits).map(([name, value]) => <span className="tag" key={name}>{name}: {String(value)}</span>) : <span className="soft">none</span>}</td><td>{Object.entries(one.used ?? {}).map(([name, value]) => <span className="tag" key={name}>{name}: {String(value)}</span>)}</td></tr>
    ))}</tbody></table></div>}</Loaded></Card>;
}
