// "+ New": a name, a type, create or attach, and the form of that type. What the server does not
// make or attach it says itself.
import { useNavigate } from "@tanstack/react-router";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { all, arm, armAt, ask } from "../../api/client";
import { useSession } from "../../ui/Frame";
import { Button, Card, Choices, Command, Dialog, Field, Loaded, toast, useQuery } from "../../ui/kit";

interface Capability { type: string; title: string; create: string; attach: string; notCreated?: string; notAttached?: string }
interface Form { name: string; size: string; max: string; min: string; tier: string; idle: string; location: string; description: string; stop: string; user: string; host: string; port: string; login: string; how: string; key: string; password: string; hostKey: string; pool: string; namespace: string }
const EMPTY: Form = { name: "", size: "STANDARD_DS3_V2", max: "2", min: "0", tier: "Dedicated", idle: "120", location: "", description: "", stop: "60", user: "", host: "", port: "22", login: "", how: "key", key: "", password: "", hostKey: "", pool: "", namespace: "" };
const WORDS: Record<string, string> = {
    AmlCompute: "Nodes that come when jobs ask for them and leave when idle. For training, sweeps and pipelines.",
    ComputeInstance: "One node of your own with JupyterLab. For trying things out.",
    VirtualMachine: "A machine that is there already, reached by SSH.",
    Kubernetes: "A cluster of Kubernetes; jobs are its pods.",
};

const isPossible = (row: Capability) => row.create === "yes" || row.attach === "yes";

export function NewCompute({ onClose }: { onClose: () => void }) {
    const { workspace } = useSession();
    const navigate = useNavigate();
    const client = useQueryClient();
    const [form, setForm] = useState<Form>({ ...EMPTY, location: (workspace as any)?.location ?? "" });
    const [type, setType] = useState("AmlCompute");
    const [helping, setHelping] = useState(false);
    const [gpu, setGpu] = useState(false);
    const [problem, setProblem] = useState<any>();
    const [busy, setBusy] = useState(false);
    const set = (name: keyof Form) => (value: string) => { setProblem(undefined); setForm((before) => ({ ...before, [name]: value })); };
    const can = useQuery({ queryKey: ["capabilities"], queryFn: () => ask<{ value: Capability[] }>("/turnout/capabilities") });
    const subscription = workspace?.id.split("/")[2];
    const sizes = useQuery({ queryKey: ["sizes"], queryFn: () => armAt(`/subscriptions/${subscription}/providers/Microsoft.MachineLearningServices/locations/${form.location || "westus"}/vmSizes`), staleTime: 60_000 });
    const pools = useQuery({ queryKey: ["pools"], queryFn: () => ask("/turnout/pools"), retry: false, enabled: type === "Kubernetes" });
    const one = can.data?.value.find((row) => row.type === type);
    const mode = one?.create === "yes" ? "create" : one?.attach === "yes" ? "attach" : "none";
    const body = bodyOf(type, form);
    const at = (...names: string[]) => (problem && names.some((name) => String(problem.target ?? "").toLowerCase().endsWith(name.toLowerCase())) ? problem.message : undefined);
    const shownAtField = at("name", "vmSize", "maxNodeCount", "minNodeCount", "nodeIdleTimeBeforeScaleDown", "location", "resourceId", "sshPort", "username", "privateKeyData", "password", "address", "idleTimeBeforeShutdown", "vmPriority");
    const create = async () => {
        setBusy(true);
        try {
            const there = await all("computes");
            if (there.some((other) => other.name.toLowerCase() === form.name.toLowerCase())) throw { message: `there is a compute '${form.name}' already`, target: "name" };
            await arm(`computes/${encodeURIComponent(form.name)}`, {}, { method: "PUT", body });
            toast(mode === "attach" ? `${form.name} is being looked at` : `${form.name} is made`);
            client.invalidateQueries({ queryKey: ["computes"] });
            onClose();
            navigate({ to: "/compute/$name", params: { name: form.name } });
        } catch (error) {
            setProblem(error);
            setBusy(false);
        }
    };
    const fits = (sizes.data?.value ?? []).filter((size: any) => (gpu ? size.gpus > 0 : size.gpus === 0));
    return (
        <Dialog open wide onClose={onClose} title="New compute" footer={<>
            {problem && !shownAtField && <span className="problem grow" role="alert" style={{ color: "var(--failed)" }}>{problem.message}</span>}
            <Button onPress={onClose}>Leave it</Button>
            <Button kind="primary" isDisabled={!form.name || mode === "none" || busy} onPress={create}>{mode === "attach" ? "Attach" : "Create"}</Button>
        </>}>
            <Field label="1. Name" value={form.name} onChange={set("name")} autoFocus problem={at("name")} hint="2 to 32 letters, digits and '-', beginning with a letter" placeholder="cpu-cluster" />
            <div className="row"><b className="grow">2. Type</b><Button kind="quiet small" onPress={() => setHelping(!helping)}>Help me choose</Button></div>
            {helping && <Help onChoose={(next, change) => { setType(next); setForm((before) => ({ ...before, ...change })); setHelping(false); }} />}
            <Loaded of={can}>{(page) => (
                <>
                    <Choices label="Type" value={type} onChange={(next) => { setType(next); setProblem(undefined); }} options={page.value.filter(isPossible).map((row) => ({ id: row.type, title: row.title, words: WORDS[row.type] }))} />
                    <details><summary className="soft" style={{ cursor: "pointer" }}>What this server does not make or attach ({page.value.filter((row) => !isPossible(row)).length})</summary>
                        <ul className="stack small" style={{ marginTop: 8, gap: 6 }}>{page.value.filter((row) => !isPossible(row)).map((row) => <li key={row.type} aria-disabled="true"><b>{row.title}</b> <span className="soft">made: {row.create}, attached: {row.attach}{(row.notCreated ?? row.notAttached) && `; ${row.notCreated ?? row.notAttached}`}</span></li>)}</ul></details>
                </>
            )}</Loaded>
            {one && mode !== "none" && (
                <>
                    <b>3. {mode === "create" ? "Create new" : "Use existing"}</b>
                    <p className="small soft">{mode === "create" ? one.notAttached : one.notCreated}</p>
                </>
            )}
            {type === "AmlCompute" && <>
                <SizeField form={form} set={set} sizes={fits} gpu={gpu} setGpu={setGpu} problem={at("vmSize")} />
                <div className="two"><Field label="Most nodes" type="number" value={form.max} onChange={set("max")} problem={at("maxNodeCount")} hint="as many as its jobs need, and no more than this" />
                    <Field label="Tier" value={form.tier} onChange={set("tier")} problem={at("vmPriority")} options={[["Dedicated", "dedicated"], ["LowPriority", "low priority: gives way to dedicated ones"]]} /></div>
                <details><summary style={{ cursor: "pointer" }}>More</summary><div className="stack" style={{ marginTop: 12 }}>
                    <div className="two"><Field label="Fewest nodes" type="number" value={form.min} onChange={set("min")} problem={at("minNodeCount")} hint="0: none is held while nothing runs" /><Field label="Seconds idle until a node leaves" type="number" value={form.idle} onChange={set("idle")} problem={at("nodeIdleTimeBeforeScaleDown")} /></div>
                    <div className="two"><Field label="Region" value={form.location} onChange={set("location")} problem={at("location")} hint="names the pool of machines that the nodes come from" /><Field label="Description" value={form.description} onChange={set("description")} /></div>
                </div></details>
            </>}
            {type === "ComputeInstance" && <>
                <SizeField form={form} set={set} sizes={fits} gpu={gpu} setGpu={setGpu} problem={at("vmSize")} />
                <Field label="Stop it when it was idle for so many minutes" type="number" value={form.stop} onChange={set("stop")} problem={at("idleTimeBeforeShutdown")} hint="15 to 4320; empty: it stays on" />
            </>}
            {type === "VirtualMachine" && <>
                <div className="two"><Field label="Address" value={form.host} onChange={set("host")} problem={at("resourceId", "address")} hint="a name or an IP address" placeholder="10.0.0.7" /><Field label="Port of SSH" type="number" value={form.port} onChange={set("port")} problem={at("sshPort")} /></div>
                <Field label="User" value={form.login} onChange={set("login")} problem={at("username")} placeholder="azureuser" />
                <Choices label="How it is logged in there" value={form.how} onChange={set("how")} options={[{ id: "key", title: "SSH key", words: "recommended" }, { id: "password", title: "Password", words: "Passwords can be guessed by brute force: a key is safer." }]} />
                {form.how === "key" ? <Field label="Private key" lines={5} value={form.key} onChange={set("key")} problem={at("privateKeyData")} hint="as in the file, without a passphrase; it is sealed and never shown again" placeholder="-----BEGIN OPENSSH PRIVATE KEY-----" /> : <Field label="Password" type="password" value={form.password} onChange={set("password")} problem={at("password")} autoComplete="new-password" />}
                <Field label="Fingerprint of its host key" value={form.hostKey} onChange={set("hostKey")} hint="SHA256:…; without one the machine's first answer is trusted" />
            </>}
            {type === "Kubernetes" && <>
                <Field label="Pool" value={form.pool} onChange={set("pool")} problem={at("resourceId")} options={["", ...(pools.data?.value ?? []).filter((pool: any) => pool.provider === "kubernetes").map((pool: any) => pool.name)]} hint="a pool of provider kubernetes in the server's pools.yaml" />
                <Field label="Namespace" value={form.namespace} onChange={set("namespace")} hint="that of the pool, or empty" />
            </>}
            {form.name && mode === "create" && type === "AmlCompute" && <Card title="The same on the command line"><Command text={`turnout compute create -n ${form.name} --type AmlCompute --size ${form.size} --min-instances ${form.min} --max-instances ${form.max} --tier ${form.tier === "LowPriority" ? "low_priority" : "dedicated"} --idle-time-before-scale-down ${form.idle}${form.location ? ` --location ${form.location}` : ""}`} /></Card>}
        </Dialog>
    );
}

function SizeField({ form, set, sizes, gpu, setGpu, problem }: { form: Form; set: (name: keyof Form) => (value: string) => void; sizes: any[]; gpu: boolean; setGpu: (is: boolean) => void; problem?: string }) {
    const options: [string, string][] = sizes.map((size) => [size.name, `${size.name} · ${size.vCPUs} cores, ${size.memoryGB} GB${size.gpus ? `, ${size.gpus} GPU` : ""}${size.fits === false ? " (more than a machine here has)" : ""}`]);
    if (!options.some(([name]) => name === form.size)) options.unshift([form.size, form.size]);
    return (
        <div><div className="chips" role="group" aria-label="Machines with"><button type="button" className="chip" aria-pressed={!gpu} onClick={() => setGpu(false)}>CPU</button><button type="button" className="chip" aria-pressed={gpu} onClick={() => setGpu(true)}>GPU</button></div>
            <Field label="Size" value={form.size} onChange={set("size")} problem={problem} options={options} /></div>
    );
}

export function bodyOf(type: string, form: Form): any {
    const whole = (text: string) => (text === "" ? undefined : Number(text));
    const properties: any = { computeType: type, description: form.description || undefined };
    const body: any = { location: form.location || undefined, properties };
    if (type === "AmlCompute") properties.properties = { vmSize: form.size, vmPriority: form.tier, osType: "Linux", scaleSettings: { minNodeCount: whole(form.min) ?? 0, maxNodeCount: whole(form.max), nodeIdleTimeBeforeScaleDown: `PT${whole(form.idle) ?? 120}S` } };
    if (type === "ComputeInstance") properties.properties = { vmSize: form.size, idleTimeBeforeShutdown: form.stop ? `PT${Number(form.stop)}M` : undefined };
    if (type === "VirtualMachine") {
        properties.resourceId = `/virtualMachines/${form.host}`;
        properties.properties = { address: form.host, sshPort: whole(form.port), administratorAccount: { username: form.login, ...(form.how === "key" ? { privateKeyData: form.key.endsWith("\n") ? form.key : form.key + "\n" } : { password: form.password }) } };
        if (form.hostKey) body.tags = { "turnout.host_key": form.hostKey };
    }
    if (type === "Kubernetes") {
        properties.resourceId = `/managedClusters/${form.pool}`;
        properties.properties = { namespace: form.namespace || undefined };
    }
    return body;
}

/** The tutorial's three cases: what is it for? */
function Help({ onChoose }: { onChoose: (type: string, form: Partial<Form>) => void }) {
    const cases: [string, string, string, Partial<Form>][] = [
        ["To try things out", "A compute instance: one machine of your own, with notebooks. It is there as long as you need it, and stops when idle.", "ComputeInstance", { stop: "60" }],
        ["For scripts that run again and again", "A cluster: nodes come for a job and leave afterwards, so nothing is held while nothing runs.", "AmlCompute", { min: "0", max: "2", tier: "Dedicated" }],
        ["For many jobs at once: sweeps, pipelines", "A cluster with more nodes: as many jobs run beside each other as it may have.", "AmlCompute", { min: "0", max: "8", tier: "LowPriority" }],
    ];
    return <div className="choices">{cases.map(([title, why, type, form]) => <button key={title} type="button" className="choice" style={{ background: "none", textAlign: "left" }} onClick={() => onChoose(type, form)}><span className="grow"><b>{title}</b><div className="small soft">{why}</div></span></button>)}</div>;
}
