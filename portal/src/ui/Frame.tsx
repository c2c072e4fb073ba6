// What is around every screen: the bar, the ways to the others, and who is here.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { createContext, useContext, useEffect, useState } from "react";
import { armAt, ask, signedOut, useThisWorkspace, type Workspace } from "../api/client";
import { useLive } from "../api/live";
import { linkQuery, mayBeKnown, me, signOut, type Me } from "../api/session";
import { SignIn } from "../features/signin/SignIn";
import { Icon, Logo } from "./icons";
import { act, Button, ErrorBox, Menu, Skeleton, Toasts } from "./kit";
import { Palette } from "./Palette";
import { setTheme, theme } from "./theme";

export const PLACES: [string, [string, string, string][]][] = [
    ["", [["/", "Home", "home"], ["/jobs", "Jobs", "jobs"]]],
    ["Assets", [["/assets/data", "Data", "data"], ["/assets/models", "Models", "models"], ["/assets/environments", "Environments", "environments"], ["/assets/components", "Components", "components"], ["/assets/datastores", "Datastores", "datastores"]]],
    ["Manage", [["/compute", "Compute", "compute"], ["/endpoints", "Endpoints", "endpoints"], ["/schedules", "Schedules", "schedules"], ["/activity", "Activity", "events"], ["/people", "People", "people"], ["/settings", "Settings", "settings"]]],
];

interface Session { me?: Me; workspace?: Workspace; workspaces: Workspace[] }
const SessionContext = createContext<Session>({ workspaces: [] });
export const useSession = () => useContext(SessionContext);
/** The short id of a workspace that stands in the addresses of jobs' pages. */
export const wsidOf = (workspace?: any) => /turnout([0-9a-f]{12})$/.exec(workspace?.properties?.storageAccount ?? "")?.[1] ?? "";

function usePath() {
    const path = useLocation().pathname;
    return path.replace(/^\/studio/, "") || "/";
}
const isIn = (path: string, place: string) => (place === "/" ? path === "/" : path === place || path.startsWith(place + "/"));

/** MLflow's clients print "{server}/#/experiments/7/runs/NAME". */
function useMlflowAddress(wsid: string) {
    const navigate = useNavigate();
    useEffect(() => {
        const run = /^#\/experiments\/[^/]+\/runs\/([^/?]+)/.exec(location.hash)?.[1];
        if (run && wsid) navigate({ to: "/jobs/$wsid/$job", params: { wsid, job: run }, replace: true });
    }, [wsid, navigate]);
}

export function Frame() {
    const path = usePath();
    const client = useQueryClient();
    const who = useQuery({ queryKey: ["me"], queryFn: me, retry: false, staleTime: 60_000, enabled: mayBeKnown });
    const spaces = useQuery({
        queryKey: ["workspaces", who.data?.name], enabled: !!who.data, staleTime: 60_000,
        queryFn: async () => {
            const usual = await ask("/turnout/workspace").catch(() => undefined);
            const group = usual?.id.split("/resourceGroups/")[0];
            const all = group ? (await armAt<{ value: any[] }>(`${group}/providers/Microsoft.MachineLearningServices/workspaces`)).value : [];
            return { usual, all: all.length ? all : usual ? [usual] : [] };
        },
    });
    const [lost, setLost] = useState(false);
    useEffect(() => {
        const out = () => { if (who.data) setLost(true); };
        signedOut.addEventListener("out", out);
        return () => signedOut.removeEventListener("out", out);
    }, [who.data]);
    useEffect(() => { if (who.data) setLost(false); }, [who.dataUpdatedAt, who.data]);

    const wanted = sessionStorage.getItem("turnout.workspace");
    const chosen = spaces.data?.all.find((one: any) => one.id === wanted) ?? spaces.data?.usual ?? spaces.data?.all[0];
    if (chosen) useThisWorkspace(chosen);
    const live = useLive(!!who.data && !!chosen);
    useMlflowAddress(wsidOf(chosen));
    const here = { me: who.data, workspace: chosen, workspaces: spaces.data?.all ?? [] };

    const byLink = !who.data && linkQuery() !== "" && /^\/jobs\/[^/]+\/[^/]+/.test(path);
    if (who.isLoading || (who.data && spaces.isPending)) return <div className="app alone"><Bar path={path} alone /><main className="page"><Skeleton /></main></div>;
    if (!who.data && !byLink) return <div className="app alone"><Bar path={path} alone /><main className="page"><SignIn onDone={() => client.invalidateQueries({ queryKey: ["me"] })} /></main><Toasts /></div>;
    const alone = !who.data;
    return (
        <SessionContext value={here}>
            <div className={`app ${alone ? "alone" : ""}`}>
                <a className="skip" href="#main">Skip to the page</a>
                <Bar path={path} alone={alone} live={live} />
                {!alone && <Rail path={path} />}
                <main className="page" id="main" tabIndex={-1}>
                    {lost && <div className="note row" role="alert"><span className="grow">This browser is logged in no more: what is shown stays as it was.</span><Button kind="small" onPress={() => { setLost(false); client.resetQueries({ queryKey: ["me"] }); }}>Log in</Button></div>}
                    {live === "away" && !lost && <div className="note" role="alert">The server does not answer: what is shown may be old. It is asked again by itself.</div>}
                    {who.data && !chosen && spaces.isSuccess ? <ErrorBox error={{ message: "you may read no workspace of this server: ask its operator for a role" }} /> : <Outlet />}
                </main>
                {!alone && <Bottom path={path} />}
            </div>
            <Toasts />
        </SessionContext>
    );
}

function Bar({ path, alone, live }: { path: string; alone?: boolean; live?: string }) {
    const { me: who, workspace, workspaces } = useSession();
    const navigate = useNavigate();
    const client = useQueryClient();
    const [now, setNow] = useState(theme());
    const [open, setOpen] = useState(false);
    useKeys(setOpen, !alone);
    const cycle = () => {
        const next = now === "system" ? "light" : now === "light" ? "dark" : "system";
        setTheme(next);
        setNow(next);
    };
    return (
        <div className="topbar">
            <Link to="/" className="brand" aria-label="Turnout, home"><Logo /><span>Turnout</span></Link>
            {workspace && workspaces.length > 1 && (
                <select className="input wide-only" aria-label="Workspace" value={workspace.id} onChange={(event) => { sessionStorage.setItem("turnout.workspace", event.target.value); client.clear(); navigate({ to: "/" }).then(() => location.reload()); }}>
                    {workspaces.map((one) => <option key={one.id} value={one.id}>{one.name}</option>)}
                </select>
            )}
            {workspace && workspaces.length === 1 && <span className="soft wide-only">{workspace.name}</span>}
            <span className="grow" />
            {!alone && <Button kind="" icon="search" aria-label="Search Ctrl K" onPress={() => setOpen(true)}><span className="wide-only soft">Search</span>{" "}<kbd className="wide-only">Ctrl K</kbd></Button>}
            {live && !alone && <span className={`livemark wide-only ${live === "live" ? "" : "off"}`} title="what happens on the server is shown at once"><i />{live === "live" ? "live" : live === "away" ? "not reached" : "…"}</span>}
            <Button kind="quiet icon" aria-label={`Colours: ${now}. Change`} onPress={cycle}><Icon name={now === "dark" ? "moon" : now === "light" ? "sun" : "settings"} /></Button>
            {alone ? linkQuery() && /^\/jobs\//.test(path) && <a className="btn" href="/login">Log in to act</a> : (
                <Menu label={`Account of ${who?.name}`} kind="quiet" entries={[
                    { id: "settings", words: "Settings", act: () => navigate({ to: "/settings" }) },
                    { id: "out", words: "Log out", act: () => act("", async () => { await signOut(); location.assign("/studio"); }) },
                ]}>{who?.displayName || who?.name}<Icon name="down" size={12} /></Menu>
            )}
            {open && <Palette onClose={() => setOpen(false)} />}
        </div>
    );
}

function Rail({ path }: { path: string }) {
    return (
        <nav className="rail" aria-label="Pages">
            {PLACES.map(([group, places]) => (
                <div key={group}>
                    {group && <h3>{group}</h3>}
                    {places.map(([to, words, icon]) => (
                        <Link key={to} to={to as any} className={isIn(path, to) ? "active" : ""} aria-current={isIn(path, to) ? "page" : undefined}><Icon name={icon} />{words}</Link>
                    ))}
                </div>
            ))}
        </nav>
    );
}

function Bottom({ path }: { path: string }) {
    const navigate = useNavigate();
    const all = PLACES.flatMap(([, places]) => places);
    const first = [all[0], all[1], ...all.filter(([to]) => to === "/compute" || to === "/assets/models")];
    return (
        <nav className="bottombar" aria-label="Pages">
            {first.map(([to, words, icon]) => <Link key={to} to={to as any} className={isIn(path, to) ? "active" : ""}><Icon name={icon} size={18} />{words}</Link>)}
            <Menu label="More pages" kind="quiet" entries={all.filter((place) => !first.includes(place)).map(([to, words]) => ({ id: to, words, act: () => navigate({ to: to as any }) }))}><Icon name="menu" size={18} />More</Menu>
        </nav>
    );
}

/** Keys for whoever has no mouse; none in a field. */
function useKeys(open: (is: boolean) => void, on: boolean) {
    const navigate = useNavigate();
    useEffect(() => {
        if (!on) return;
        let began = 0;
        const press = (event: KeyboardEvent) => {
            if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); return open(true); }
            const target = event.target as HTMLElement;
            if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable || document.querySelector('[role="dialog"]')) return;
            const goes: Record<string, string> = { h: "/", j: "/jobs", c: "/compute", m: "/assets/models", e: "/endpoints", s: "/schedules" };
            if (Date.now() - began < 1200 && goes[event.key]) { event.preventDefault(); began = 0; navigate({ to: goes[event.key] as any }); return; }
            if (event.key === "g") began = Date.now();
            if (event.key === "/") { const box = document.querySelector<HTMLInputElement>("[data-search]"); if (box) { event.preventDefault(); box.focus(); } else open(true); }
            if (event.key === "?") open(true);
        };
        addEventListener("keydown", press);
        return () => removeEventListener("keydown", press);
    }, [on, open, navigate]);
}

export function Lost() {
    return <div className="empty"><strong>There is no such page</strong><Link to="/">Home</Link></div>;
}
