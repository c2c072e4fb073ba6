// What each type of compute can do: here, and on Azure. The server knows; nothing is said here.
import { Link } from "@tanstack/react-router";
import { ask } from "../../api/client";
import { Icon } from "../../ui/icons";
import { Card, Loaded, PageHead, useQuery, useTitle } from "../../ui/kit";

const ABILITIES: [string, string][] = [["train", "Jobs"], ["gpu", "GPUs"], ["sweep", "Sweeps"], ["automl", "AutoML"], ["pipeline", "Pipelines"], ["create", "Created"], ["attach", "Attached"]];
const SIGN: Record<string, [string, string]> = { yes: ["s_completed", "Completed"], maybe: ["s_preparing", "Preparing"], no: ["s_failed", "Canceled"] };

export function Targets() {
    useTitle("Compute targets");
    const found = useQuery({ queryKey: ["capabilities"], queryFn: () => ask("/turnout/capabilities") });
    return (
        <>
            <PageHead crumb={<Link to="/compute">Compute</Link>} title="What each type of compute can do" note="Here, on this server; where Azure differs it stands behind. A 'maybe' depends on the machines." />
            <Card pad={false}><Loaded of={found}>{(page) => (
                <div className="table-box" tabIndex={0} role="region" aria-label="What each type can do"><table className="table"><thead><tr><th>Type</th>{ABILITIES.map(([id, words]) => <th key={id}>{words}</th>)}</tr></thead><tbody>
                    {page.value.map((row: any) => (
                        <tr key={row.type}><td className="tall" style={{ minWidth: 220 }}><b>{row.title}</b><div className="small soft">{row.type}{row.create !== "yes" && row.attach !== "yes" && (row.notCreated ?? row.notAttached) ? `: ${row.notCreated ?? row.notAttached}` : ""}</div></td>
                            {ABILITIES.map(([id]) => {
                                const here = row.here?.[id] ?? row[id], azure = row.azure?.[id], [icon, like] = SIGN[here] ?? ["s_failed", "Canceled"];
                                return <td key={id} className="nowrap"><span className={`status ${like}`}><Icon name={icon} size={13} />{row[id] === "not yet" ? "not yet" : here}</span>{azure && azure !== here && row[id] !== "not yet" && <span className="soft small"> (Azure: {azure})</span>}</td>;
                            })}</tr>
                    ))}
                </tbody></table></div>
            )}</Loaded></Card>
        </>
    );
}
