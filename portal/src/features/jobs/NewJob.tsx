// A new job by a form, or a job of before on another target: the same definition but for what is
// changed here.
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { all, arm, ask, shortId, workspace as current } from "../../api/client";
import { definition, newName } from "../../api/jobs";
import { bytes, number } from "../../lib/bytes";
import { useSession, wsidOf } from "../../ui/Frame";
import { Button, Card, Field, PageHead, Skeleton, Tabs, useQuery, useTitle } from "../../ui/kit";

interface Upload { path: string; file: File }

export function NewJob() {
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const wsid = wsidOf(useSession().workspace);
    const from = search.from;
    useTitle(from ? "Run again" : "New job");
    const [own, setOwn] = useState<any>(from ? undefined : { jobType: "Command", command: "", experimentName: "first", environmentId: "", computeId: "" });
    const [compute, setCompute] = useState(search.compute ?? "");
    const [environment, setEnvironment] = useState("image debian:12");
    const [image, setImage] = useState("debian:12");
    const [name, setName] = useState(newName);
    const [tab, setTab] = useState("form");
    const [text, setText] = useState("");
    const [code, setCode] = useState<Upload[]>([]);
    const [problem, setProblem] = useState<any>();
    const [busy, setBusy] = useState("");
    const before = useQuery({ queryKey: ["arm", from], enabled: !!from, queryFn: () => arm(`jobs/${encodeURIComponent(from)}`) });
    const computes = useQuery({ queryKey: ["computes"], queryFn: () => all("computes") });
    const environments = useQuery({ queryKey: ["assets", "environments"], queryFn: () => all("environments") });
    useEffect(() => {
        if (!before.data || own) return;
        setOwn(definition(before.data));
        setCompute(shortId(before.data.properties.computeId));
    }, [before.data, own]);
    if (from && before.error) return <div className="error" role="alert">{(before.error as Error).message}</div>;
    if (!own) return <Skeleton />;
    const set = (change: any) => { setProblem(undefined); setOwn({ ...own, ...change }); };
    const whole = () => {
        const out = { ...own, computeId: compute ? `${current()!.id}/computes/${compute}` : undefined };
        if (!compute) delete out.computeId;
        if (!from && environment.startsWith("azureml:")) out.environmentId = `${current()!.id}/environments/${environment.slice(8).replace(":", "/versions/")}`;
        return out;
    };
    const show = (next: string) => {
        if (next === "json") setText(JSON.stringify(whole(), null, 2));
        else if (tab === "json") try { const parsed = JSON.parse(text); setOwn(parsed); setCompute(shortId(parsed.computeId)); if (parsed.environmentId) setEnvironment(`azureml:${shortId(parsed.environmentId)}`); } catch (error) { return setProblem({ message: `the definition is no JSON: ${(error as Error).message}` }); }
        setProblem(undefined);
        setTab(next);
    };
    const submit = async () => {
        setProblem(undefined);
        try {
            const properties = tab === "json" ? JSON.parse(text) : whole();
            if (!from && tab !== "json" && !environment.startsWith("azureml:")) {
                // An environment that is the image alone, as clients make one for a job that names an image.
                setBusy("the environment");
                const hash = Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`image ${image}`))), (byte) => byte.toString(16).padStart(2, "0")).join("");
                const made = await arm(`environments/CliV2AnonymousEnvironment/versions/${hash}`, {}, { method: "PUT", body: { properties: { image, isAnonymous: true, osType: "Linux" } } });
                properties.environmentId = made.id;
            }
            if (code.length) { setBusy("its code"); properties.codeId = await upload(code); }
            setBusy("the job");
            await arm(`jobs/${encodeURIComponent(name)}`, {}, { method: "PUT", body: { properties } });
            navigate({ to: "/jobs/$wsid/$job", params: { wsid, job: name } });
        } catch (error) {
            setProblem(error);
        }
        setBusy("");
    };
    const target = (
        <Field label="Target" value={compute} onChange={(next) => { setProblem(undefined); setCompute(next); }} hint="a cluster gives it a node of its own; serverless is the server's default pool"
            options={[["", "serverless"], ...(computes.data ?? []).map((one): [string, string] => [one.name, `${one.name} (${one.properties.computeType}${one.properties.properties?.vmSize ? `, ${one.properties.properties.vmSize}` : ""})`]), ...(compute && !computes.data?.some((one) => one.name === compute) ? [[compute, compute] as [string, string]] : [])]} />
    );
    return (
        <>
            <PageHead crumb={<Link to="/jobs">Jobs</Link>} title={from ? <>Run {before.data?.properties.displayName || from} again</> : "New job"} note={from ? "The same definition, on the target that you choose." : undefined} />
            <Tabs label="How it is written" tabs={[["form", "Form"], ["json", "Definition"]]} value={tab} onChange={show} />
            <div style={{ maxWidth: 820 }} className="stack">
                {tab === "form" ? (
                    <Card><div className="stack">
                        {target}
                        {own.jobType === "Command" && <Field label="Command" lines={3} value={own.command ?? ""} onChange={(command) => set({ command })} autoFocus={!from} placeholder="python3 train.py" hint="runs in the code's folder, if there is code" />}
                        {!from && <>
                            <Field label="Environment" value={environment} onChange={setEnvironment} options={[["image debian:12", "an image…"], ...(environments.data ?? []).map((one): [string, string] => [`azureml:${one.name}:${one.properties.latestVersion}`, `${one.name}:${one.properties.latestVersion}`])]} hint="what its packages are; it is prepared once and reused" />
                            {!environment.startsWith("azureml:") && <Field label="Image" value={image} onChange={setImage} hint="debian:12 stands for the machine as it is, where the pool starts no containers" />}
                            <CodeField code={code} onChange={setCode} />
                        </>}
                        <div className="two"><Field label="Experiment" value={own.experimentName ?? ""} onChange={(experimentName) => set({ experimentName })} /><Field label="Display name" value={own.displayName ?? ""} onChange={(displayName) => set({ displayName: displayName || undefined })} hint="empty: the job's name" /></div>
                        <Field label="Name" value={name} onChange={setName} hint="once in the workspace" />
                    </div></Card>
                ) : <Card><div className="stack"><Field label="Definition, as the REST API takes it" lines={22} value={text} onChange={(next) => { setText(next); setProblem(undefined); }} /><Field label="Name" value={name} onChange={setName} /></div></Card>}
                {problem && <div className="error" role="alert"><div>{problem.message}{problem.target && <div className="small soft">at '{problem.target}'</div>}</div></div>}
                <div className="row"><Button kind="primary" isDisabled={!!busy || !name || (tab === "form" && own.jobType === "Command" && !own.command)} onPress={submit}>{busy ? `Submitting ${busy}…` : "Submit"}</Button></div>
            </div>
        </>
    );
}

function CodeField({ code, onChange }: { code: Upload[]; onChange: (code: Upload[]) => void }) {
    const take = (list: FileList | null) => onChange([...(list ?? [])].map((file) => ({ file, path: file.webkitRelativePath.split("/").slice(1).join("/") || file.name })).filter((one) => !/(^|\/)(\.git|__pycache__|node_modules|\.venv)(\/|$)/.test(one.path)));
    return (
        <div className="field"><span className="label">Code</span>
            <div className="row"><label className="btn">Choose a folder<input type="file" className="visually-hidden" {...({ webkitdirectory: "" } as object)} multiple onChange={(event) => take(event.target.files)} /></label>
                <span className="soft">{code.length ? `${number(code.length)} files, ${bytes(code.reduce((sum, one) => sum + one.file.size, 0))}` : "none: the command stands alone"}</span>{code.length > 0 && <Button kind="quiet small" onPress={() => onChange([])}>Take away</Button>}</div></div>
    );
}

/** As Azure's clients do: a place is asked for, the files go there, and the place gets a name. */
async function upload(code: Upload[]): Promise<string> {
    const id = crypto.randomUUID();
    const place = await arm(`codes/${id}/versions/1/startPendingUpload`, {}, { method: "POST", body: { pendingUploadType: "TemporaryBlobReference" } });
    const sas = new URL(place.blobReferenceForConsumption.credential.sasUri);
    for (const one of code)
        await ask(`${sas.pathname}/${one.path.split("/").map(encodeURIComponent).join("/")}${sas.search}`, { method: "PUT", raw: true, body: await one.file.text(), headers: { "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream" } });
    const made = await arm(`codes/${id}/versions/1`, {}, { method: "PUT", body: { properties: { codeUri: place.blobReferenceForConsumption.blobUri } } });
    return made.id;
}
