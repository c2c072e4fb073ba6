// Ctrl-K: pages, and jobs by a part of their name.
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { arm } from "../api/client";
import { PLACES, useSession, wsidOf } from "./Frame";
import { Icon } from "./icons";
import { Dialog, StatusBadge } from "./kit";

export function Palette({ onClose }: { onClose: () => void }) {
    const [text, setText] = useState("");
    const [at, setAt] = useState(0);
    const navigate = useNavigate();
    const wsid = wsidOf(useSession().workspace);
    const jobs = useQuery({ queryKey: ["rows", "palette", text], queryFn: () => arm("jobRows", { q: text, limit: 8, archived: "true" }), placeholderData: (before) => before });
    const part = text.toLowerCase();
    const pages = [...PLACES.flatMap(([, places]) => places), ["/jobs/new", "New job", "plus"], ["/targets", "Compute targets: what each can do", "compute"]]
        .filter(([, words]) => words.toLowerCase().includes(part)).slice(0, 8)
        .map(([to, words, icon]) => ({ key: to, go: () => navigate({ to: to as any }), show: <><Icon name={icon} />{words}</> }));
    const found = (jobs.data?.value ?? []).map((job: any) => ({
        key: "job " + job.name, go: () => navigate({ to: "/jobs/$wsid/$job", params: { wsid, job: job.name } }),
        show: <><span className="grow cut">{job.displayName ?? job.name} <span className="soft mono">{job.displayName && job.name}</span></span><StatusBadge status={job.status} /></>,
    }));
    const entries = text ? [...found, ...pages] : [...pages, ...found];
    useEffect(() => setAt(0), [text]);
    const choose = (entry?: (typeof entries)[0]) => { if (entry) { onClose(); entry.go(); } };
    return (
        <Dialog open onClose={onClose} title="Go to">
            <input className="input" autoFocus aria-label="Page or job" placeholder="A page, or part of a job's name" value={text} onChange={(event) => setText(event.target.value)} onKeyDown={(event) => {
                if (event.key === "ArrowDown") { event.preventDefault(); setAt(Math.min(at + 1, entries.length - 1)); }
                if (event.key === "ArrowUp") { event.preventDefault(); setAt(Math.max(at - 1, 0)); }
                if (event.key === "Enter") choose(entries[at]);
            }} />
            <div role="listbox" aria-label="Found">
                {entries.map((entry, i) => (
                    <div key={entry.key} role="option" aria-selected={i === at} className={`menuitem ${i === at ? "focused" : ""}`} onMouseEnter={() => setAt(i)} onClick={() => choose(entry)}>{entry.show}</div>
                ))}
            </div>
            <p className="small soft"><kbd>g j</kbd> jobs · <kbd>g c</kbd> compute · <kbd>g m</kbd> models · <kbd>/</kbd> search on a page · <kbd>j</kbd> <kbd>k</kbd> rows · <kbd>x</kbd> select · <kbd>f</kbd> follow a log</p>
        </Dialog>
    );
}
