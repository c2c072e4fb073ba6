// One endpoint: its deployments, who gets which requests, a request to try it, and logs.
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { arm, ask, shortId } from "../../api/client";
import { number } from "../../lib/bytes";
import { useSession, wsidOf } from "../../ui/Frame";
import { act, Button, Card, Command, Confirm, Copy, Dialog, Empty, Facts, Field, Loaded, PageHead, StateBadge, useQuery, useTitle } from "../../ui/kit";
import { likeOf } from "./Endpoints";

export function Endpoint() {
    const { name } = useParams({ strict: false }) as { name: string };
    useTitle(name);
    const client = useQueryClient(), navigate = useNavigate(), wsid = wsidOf(useSession().workspace);
    const [asking, setAsking] = useState(""), [logs, setLogs] = useState("");
    const found = useQuery({ queryKey: ["computes", "endpoints", name], queryFn: () => arm(`onlineEndpoints/${name}`) });
    const deployments = useQuery({ queryKey: ["computes", "endpoints", name, "deployments"], queryFn: () => arm(`onlineEndpoints/${name}/deployments`), refetchInterval: 5000 });
    const again = () => client.invalidateQueries({ queryKey: ["computes", "endpoints"] });
    return (
        <Loaded of={found}>{(endpoint) => (
            <>
                <PageHead crumb={<Link to="/endpoints">Endpoints</Link>} title={<>{name} <StateBadge state={endpoint.properties.provisioningState} like={likeOf(endpoint.properties.provisioningState)} /></>} note={<span className="row"><span className="mono">{endpoint.properties.scoringUri}</span><Copy text={endpoint.properties.scoringUri} label="Copy the address" /></span>}>
                    <Button onPress={() => setAsking("traffic")}>Traffic</Button><Button kind="danger" icon="trash" onPress={() => setAsking("delete")}>Delete</Button>
                </PageHead>
                <Card title="Deployments" pad={false}><Loaded of={deployments}>{(page) => page.value.length === 0 ? <Empty title="Nothing answers yet" command={`turnout online-deployment create -f blue.yml -e ${name} --all-traffic`} /> : (
                    <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>State</th><th className="num">Traffic</th><th>Model</th><th className="num">Ready</th><th className="num">Requests</th><th className="num">Errors</th><th>Replicas</th><th /></tr></thead><tbody>
                        {page.value.map((one: any) => (
                            <tr key={one.name}><td className="main"><b>{one.name}</b></td><td><StateBadge state={one.properties.provisioningState} like={likeOf(one.properties.provisioningState)} /></td><td className="num">{endpoint.properties.traffic?.[one.name] ?? 0} %</td><td>{one.properties.model && <ModelLink id={one.properties.model} />}</td><td className="num" data-label="ready">{one.properties.readyInstances ?? 0} of {one.sku?.capacity ?? 1}</td><td className="num" data-label="requests">{number(one.properties.requests?.requests ?? 0)}</td><td className="num" data-label="errors">{number(one.properties.requests?.errors ?? 0)}</td>
                                <td>{(one.properties.replicas ?? []).map((replica: any) => <Link key={replica.name} className="tag" to="/jobs/$wsid/$job" params={{ wsid, job: replica.name }}>{replica.name} {replica.state}</Link>)}</td>
                                <td className="right nowrap"><Button kind="small" onPress={() => setLogs(one.name)}>Log</Button></td></tr>
                        ))}
                    </tbody></table></div>
                )}</Loaded></Card>
                <div className="cols">
                    <Try name={name} uri={endpoint.properties.scoringUri} deployments={(deployments.data?.value ?? []).map((one: any) => one.name)} />
                    <div className="stack">
                        <Card title="By any HTTP client"><p className="soft">The key is shown by the command line:</p><Command text={`turnout online-endpoint get-credentials ${name}`} /></Card>
                        <Card title="About"><Facts rows={[["Auth", endpoint.properties.authMode], ["Description", endpoint.properties.description], ["OpenAPI", endpoint.properties.swaggerUri && <span className="mono">{endpoint.properties.swaggerUri}</span>]]} /></Card>
                    </div>
                </div>
                {asking === "traffic" && <Traffic endpoint={endpoint} names={(deployments.data?.value ?? []).map((one: any) => one.name)} onClose={() => { setAsking(""); again(); }} />}
                {asking === "delete" && <Confirm title={`Delete ${name}?`} verb="Delete" name={name} onClose={() => setAsking("")} onYes={async () => { if (await act(`${name} goes`, () => arm(`onlineEndpoints/${name}`, {}, { method: "DELETE" }))) navigate({ to: "/endpoints" }); }}><p>Its deployments go with it: nothing answers at its address any more.</p></Confirm>}
                {logs && <Logs endpoint={name} deployment={logs} onClose={() => setLogs("")} />}
            </>
        )}</Loaded>
    );
}

export function ModelLink({ id }: { id: string }) {
    const [name, version] = shortId(id).split(":");
    return <Link to="/assets/$kind/$name" params={{ kind: "models", name }} search={{ version } as any}>{name}:{version}</Link>;
}

function Try({ name, uri, deployments }: { name: string; uri: string; deployments: string[] }) {
    const [text, setText] = useState('{"data": [[1, 2, 3]]}'), [to, setTo] = useState("");
    const [answer, setAnswer] = useState<{ words: string; ms: number; bad: boolean }>();
    const [busy, setBusy] = useState(false);
    const send = async () => {
        setBusy(true);
        const began = performance.now();
        try {
            // Its key is asked for, used once and kept nowhere.
            const keys = await arm(`onlineEndpoints/${name}/listKeys`, {}, { method: "POST" });
            const words = await ask<string>(new URL(uri).pathname, { method: "POST", raw: true, body: text, headers: { "Content-Type": "application/json", Authorization: `Bearer ${keys.primaryKey}`, ...(to ? { "azureml-model-deployment": to } : {}) } });
            setAnswer({ words, ms: performance.now() - began, bad: false });
        } catch (error) { setAnswer({ words: (error as Error).message, ms: performance.now() - began, bad: true }); }
        setBusy(false);
    };
    return (
        <Card title="Try it"><div className="stack">
            <Field label="Request" lines={6} value={text} onChange={setText} />
            <div className="row"><select className="input" aria-label="Deployment" value={to} onChange={(event) => setTo(event.target.value)}><option value="">by its traffic</option>{deployments.map((one) => <option key={one}>{one}</option>)}</select><Button kind="primary" isDisabled={busy} onPress={send}>{busy ? "…" : "Send"}</Button>{answer && <span className="soft small">{answer.ms.toFixed(0)} ms</span>}</div>
            {answer && <div className={answer.bad ? "error" : ""} role="status"><pre>{answer.words}</pre></div>}
        </div></Card>
    );
}

function Traffic({ endpoint, names, onClose }: { endpoint: any; names: string[]; onClose: () => void }) {
    const [shares, setShares] = useState<Record<string, string>>(Object.fromEntries(names.map((name) => [name, String(endpoint.properties.traffic?.[name] ?? 0)])));
    const [problem, setProblem] = useState("");
    const sum = Object.values(shares).reduce((all, share) => all + Number(share), 0);
    const save = async () => {
        try {
            await arm(`onlineEndpoints/${endpoint.name}`, {}, { method: "PUT", body: { location: endpoint.location, tags: endpoint.tags, identity: endpoint.identity, properties: { authMode: endpoint.properties.authMode, description: endpoint.properties.description, properties: endpoint.properties.properties, traffic: Object.fromEntries(Object.entries(shares).map(([name, share]) => [name, Number(share)])) } } });
            onClose();
        } catch (error) { setProblem((error as Error).message); }
    };
    return (
        <Dialog open onClose={onClose} title="Who gets which share of the requests" footer={<><Button onPress={onClose}>Leave it</Button><Button kind="primary" isDisabled={sum !== 100 && sum !== 0} onPress={save}>Save</Button></>}>
            {names.map((name) => <Field key={name} label={name} type="number" value={shares[name]} onChange={(share) => setShares({ ...shares, [name]: share })} />)}
            <p className={sum === 100 || sum === 0 ? "soft" : "problem"}>{sum} % of 100 %</p>{problem && <p role="alert">{problem}</p>}
        </Dialog>
    );
}

function Logs({ endpoint, deployment, onClose }: { endpoint: string; deployment: string; onClose: () => void }) {
    const found = useQuery({ queryKey: ["computes", "log", endpoint, deployment], queryFn: () => arm(`onlineEndpoints/${endpoint}/deployments/${deployment}/getLogs`, {}, { method: "POST", body: { containerType: "InferenceServer", tail: 500 } }), refetchInterval: 3000 });
    return <Dialog open wide onClose={onClose} title={`Log of ${deployment}`}><Loaded of={found}>{(page) => <pre style={{ maxHeight: "60vh", overflow: "auto" }}>{page.content || "it wrote nothing"}</pre>}</Loaded></Dialog>;
}
