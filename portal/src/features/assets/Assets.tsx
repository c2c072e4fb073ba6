// Data, models, environments, components and datastores: alike, so one list and one page.
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { all, arm, shortId } from "../../api/client";
import { document_ } from "../../api/jobs";
import { useSession, wsidOf } from "../../ui/Frame";
import { act, Button, Card, Command, Copy, Dialog, Empty, Facts, Field, Loaded, Menu, PageHead, SearchBox, Tags, Time, useQuery, useTitle } from "../../ui/kit";

interface Kind { title: string; one: string; note: string; command: string; path: string }
const KINDS: Record<string, Kind> = {
    data: { title: "Data", one: "data asset", path: "data", note: "Named and versioned files and folders that jobs take as inputs.", command: "turnout data create -n letters --type uri_folder --path ./letters" },
    models: { title: "Models", one: "model", path: "models", note: "What jobs have trained, by name and version; MLflow's registry is the same.", command: "turnout model create -n weights --path azureml://jobs/NAME/outputs/model --type custom_model" },
    environments: { title: "Environments", one: "environment", path: "environments", note: "What jobs run in. It is prepared once for each definition and reused from then on.", command: "turnout environment create -f env.yml" },
    components: { title: "Components", one: "component", path: "components", note: "Steps of pipelines, kept by name and version.", command: "turnout component create -f component.yml" },
    datastores: { title: "Datastores", one: "datastore", path: "datastores", note: "Where files are kept.", command: "turnout datastore list" },
};

export function Assets() {
    const { kind } = useParams({ strict: false }) as { kind: string };
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const of = KINDS[kind];
    useTitle(of?.title ?? "Assets");
    const found = useQuery({ queryKey: ["assets", kind], queryFn: () => all(of.path), enabled: !!of });
    if (!of) return <Empty title="There are no such assets" />;
    const list = (found.data ?? []).filter((one) => one.name.toLowerCase().includes((search.q ?? "").toLowerCase()));
    return (
        <>
            <PageHead title={of.title} note={of.note}>
                <SearchBox label="Part of a name" value={search.q ?? ""} onChange={(q) => navigate({ to: "/assets/$kind", params: { kind }, search: (q ? { q } : {}) as any, replace: true })} />
            </PageHead>
            <Card pad={false}><Loaded of={found}>{() => list.length === 0 ? <Empty title={found.data!.length ? "None is like that" : `There is no ${of.one} yet`} command={of.command} /> : (
                <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>{kind === "datastores" ? "Type" : "Newest version"}</th><th>Description</th><th>Tags</th><th className="num">Changed</th></tr></thead><tbody>
                    {list.map((one) => (
                        <tr key={one.name}><td className="main"><Link className="name cut" to="/assets/$kind/$name" params={{ kind, name: one.name }}>{one.name}</Link></td><td data-label={kind === "datastores" ? "" : "version"}>{one.properties.latestVersion ?? one.properties.datastoreType}{one.properties.isDefault && <span className="tag">default</span>}</td><td className="soft"><span className="cut">{one.properties.description}</span></td><td><Tags tags={one.properties.tags} /></td><td className="num"><Time at={one.systemData?.lastModifiedAt} /></td></tr>
                    ))}
                </tbody></table></div>
            )}</Loaded></Card>
            {kind === "models" && search.job && <Register job={search.job} onClose={() => navigate({ to: "/assets/$kind", params: { kind }, search: {} as any, replace: true })} />}
        </>
    );
}

export function Asset() {
    const { kind, name } = useParams({ strict: false }) as { kind: string; name: string };
    const search = useSearch({ strict: false }) as Record<string, string>;
    const navigate = useNavigate();
    const client = useQueryClient();
    const { workspace } = useSession();
    const wsid = wsidOf(workspace);
    const of = KINDS[kind];
    useTitle(name);
    const single = kind === "datastores";
    const found = useQuery({ queryKey: ["assets", kind, name], enabled: !!of, queryFn: async () => (single ? [await arm(`datastores/${name}`)] : all(`${of.path}/${encodeURIComponent(name)}/versions`, { listViewType: "All" })) });
    if (!of) return <Empty title="There are no such assets" />;
    return (
        <Loaded of={found}>{(versions) => {
            const shown = versions.find((one) => one.name === search.version) ?? versions[0];
            if (!shown) return <Empty title={`${name} has no version`} />;
            const own = shown.properties, uri: string | undefined = own.modelUri ?? own.dataUri;
            const job = /\/paths\/azureml\/([^/]+)\//.exec(uri ?? "")?.[1] ?? /ExperimentRun\/dcid\.([^/]+)\//.exec(uri ?? "")?.[1] ?? /azureml:\/\/jobs\/([^/]+)\//.exec(uri ?? "")?.[1] ?? own.jobName;
            const id = single ? `azureml://datastores/${name}` : `azureml:${name}:${shown.name}`;
            const again = () => client.invalidateQueries({ queryKey: ["assets", kind] });
            return (
                <>
                    <PageHead crumb={<Link to="/assets/$kind" params={{ kind }}>{of.title}</Link>} title={single ? name : <>{name} <span className="soft">version {shown.name}</span></>} note={<span className="row"><span className="mono">{id}</span><Copy text={id} label="Copy its name" /></span>}>
                        {!single && own.environmentType !== "Curated" && <Menu label="More" kind="icon" icon="more" entries={[{ id: "archive", words: own.isArchived ? "Show in lists again" : "Archive", act: () => act(own.isArchived ? "It is in lists again" : "It is archived", () => arm(`${of.path}/${name}/versions/${shown.name}`, {}, { method: "PUT", body: { properties: { ...own, isArchived: !own.isArchived } } })).then(again) }]} />}
                    </PageHead>
                    <div className="cols">
                        <div className="stack">
                            <Card title="About"><Facts rows={[
                                ["Description", own.description], ["Type", own.modelType ?? own.dataType ?? own.environmentType ?? own.datastoreType ?? own.componentSpec?.type],
                                ["From job", job && <Link to="/jobs/$wsid/$job" params={{ wsid, job }}>{job}</Link>],
                                ["Where it is", uri && <span className="mono">{uri}</span>], ["Image", own.image && <span className="mono">{own.image}</span>], ["Build", own.build?.contextUri && <span className="mono">{own.build.contextUri}</span>],
                                ["Container", own.containerName && <span className="mono">{own.containerName}</span>], ["Stage", own.stage], ["Archived", own.isArchived && "yes"],
                                ["Made", shown.systemData?.createdAt && <><Time at={shown.systemData.createdAt} /> by {shown.systemData.createdBy}</>], ["Tags", Object.keys(own.tags ?? {}).length > 0 && <Tags tags={own.tags} />],
                            ]} /></Card>
                            {own.condaFile && <Card title="Packages" extra={<Copy text={own.condaFile} />}><pre>{own.condaFile}</pre></Card>}
                            {own.componentSpec && <Card title="Definition" extra={<Copy text={JSON.stringify(own.componentSpec, null, 2)} />}><pre>{JSON.stringify(own.componentSpec, null, 2)}</pre></Card>}
                            {kind === "models" && <Card title="Serve it"><p className="soft">A deployment behind an online endpoint answers requests with it.</p><Command text={`turnout online-deployment create -f deployment.yml   # model: ${id}`} /></Card>}
                            {kind === "data" && <Card title="Use it in a job"><Command text={`inputs:\n  my_data: {type: ${own.dataType}, path: ${id}}`} /></Card>}
                        </div>
                        {!single && <Card title="Versions" pad={false}><table className="table"><tbody>{versions.map((one) => (
                            <tr key={one.name} className={one === shown ? "current" : ""}><td><button type="button" className="linkish" onClick={() => navigate({ to: "/assets/$kind/$name", params: { kind, name }, search: { version: one.name } as any, replace: true })}>{one.name}</button>{one.properties.isArchived && <span className="tag" style={{ marginLeft: 6 }}>archived</span>}</td><td className="num soft"><Time at={one.systemData?.createdAt} /></td></tr>
                        ))}</tbody></table></Card>}
                    </div>
                </>
            );
        }}</Loaded>
    );
}

/** A model from what a job wrote. */
function Register({ job, onClose }: { job: string; onClose: () => void }) {
    const wsid = wsidOf(useSession().workspace);
    const client = useQueryClient();
    const navigate = useNavigate();
    const [name, setName] = useState(""), [path, setPath] = useState<string>(), [type, setType] = useState("custom_model"), [problem, setProblem] = useState("");
    const found = useQuery({ queryKey: ["job", job, undefined, true], queryFn: () => document_(wsid, job, true) });
    const places = found.data ? [...found.data.outputs.map((output) => `azureml://jobs/${job}/outputs/${output.name}`), ...(found.data.artifacts.length ? [...new Set(found.data.artifacts.map((file) => `azureml://jobs/${job}/outputs/artifacts/paths/${file.path.includes("/") ? file.path.slice(0, file.path.lastIndexOf("/") + 1) : file.path}`))] : [])] : [];
    const chosen = path ?? places[0] ?? "";
    const make = async () => {
        try {
            const there = (await all("models", { listViewType: "All" })).find((one) => one.name === name);
            await arm(`models/${encodeURIComponent(name)}/versions/${there?.properties.nextVersion ?? "1"}`, {}, { method: "PUT", body: { properties: { modelUri: chosen, modelType: type } } });
            client.invalidateQueries({ queryKey: ["assets"] });
            navigate({ to: "/assets/$kind/$name", params: { kind: "models", name } });
        } catch (error) { setProblem((error as Error).message); }
    };
    return (
        <Dialog open onClose={onClose} title={`Register a model from ${shortId(job)}`} footer={<><Button onPress={onClose}>Leave it</Button><Button kind="primary" isDisabled={!name || !chosen} onPress={make}>Register</Button></>}>
            <Field label="Name" value={name} onChange={setName} autoFocus hint="of a model that exists: the next version of it is made" />
            <Field label="What the job wrote" value={chosen} onChange={setPath} options={places} />
            <Field label="Type" value={type} onChange={setType} options={["custom_model", "mlflow_model", "triton_model"]} />
            {problem && <p className="problem" role="alert" style={{ color: "var(--failed)" }}>{problem}</p>}
        </Dialog>
    );
}
