import { Link } from "@tanstack/react-router";
import { all } from "../../api/client";
import { Card, Empty, Loaded, PageHead, StateBadge, Tags, Time, useQuery, useTitle } from "../../ui/kit";

export const likeOf = (state: string) => (state === "Succeeded" ? "Completed" : state === "Failed" ? "Failed" : "Preparing");

export function Endpoints() {
    useTitle("Endpoints");
    const found = useQuery({ queryKey: ["computes", "endpoints"], queryFn: () => all("onlineEndpoints") });
    return (
        <>
            <PageHead title="Endpoints" note="Addresses at which models answer requests." />
            <Card pad={false}><Loaded of={found}>{(list) => list.length === 0 ? <Empty title="There is no endpoint yet" command={"turnout online-endpoint create -f endpoint.yml\nturnout online-deployment create -f blue.yml --all-traffic"} /> : (
                <div className="table-box"><table className="table cards"><thead><tr><th>Name</th><th>State</th><th>Traffic</th><th>Auth</th><th>Address</th><th className="num">Created</th></tr></thead><tbody>
                    {list.map((one) => <tr key={one.name}><td className="main"><Link className="name" to="/endpoints/$name" params={{ name: one.name }}>{one.name}</Link></td><td><StateBadge state={one.properties.provisioningState} like={likeOf(one.properties.provisioningState)} /></td><td><Tags tags={Object.fromEntries(Object.entries(one.properties.traffic ?? {}).map(([name, share]) => [name, `${share} %`]))} /></td><td>{one.properties.authMode}</td><td><span className="mono cut">{one.properties.scoringUri}</span></td><td className="num"><Time at={one.systemData?.createdAt} /></td></tr>)}
                </tbody></table></div>
            )}</Loaded></Card>
        </>
    );
}
